//! A drawing as a file: SVG with text that stays text, and the same as pixels.

use std::{fmt::Write as _, sync::Arc, sync::OnceLock};

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb::Database},
};

use super::{ReportError, plot::UNITS, text::escape};

/// Pixels of the bitmap for each of the drawing: sharp on screens of today and in print.
const SHARPNESS: f32 = 2.0;

/// What browsers set text in: the bitmap's face first, then what they have.
const FACES: &str = "Noto Sans, Helvetica Neue, Arial, sans-serif";

/// White above and below.
const RIM: f64 = 8.0;

/// What a figure shows, without its caption.
#[derive(Debug, Clone)]
pub(super) struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

impl Drawing {
    /// Takes what the plotting library wrote.
    pub(super) fn new(width: f64, height: f64, written: &str) -> Self {
        let inside = written
            .split_once('>')
            .and_then(|(_, rest)| rest.rsplit_once("</svg>"))
            .map_or("", |(inside, _)| inside);
        let rim = "paint-order=\"stroke\" stroke=\"#FFFFFF\" stroke-width=\"32\" \
                   stroke-linejoin=\"round\"";
        let body = inside
            .replace("font-family=\"rim\"", rim)
            .replace(" font-family=\"plain\"", "")
            .replace(" opacity=\"1\"", "")
            .replace(">\n", ">")
            .replace("\n</text>", "</text>");
        Self {
            width,
            height,
            body,
        }
    }

    /// The shapes alone.
    #[cfg(test)]
    pub(super) fn body(&self) -> &str {
        &self.body
    }

    /// For a page: the page's own style sets the colours, the caption is the page's.
    pub(super) fn inline(&self, title: &str) -> String {
        let mut out = self.opened(title, "", 0.0, self.height, false);
        let _ = write!(out, "{}</svg>", self.body);
        out
    }

    /// By itself: axes, units and names of lines. A paper sets title and caption in its own type, so
    /// they are in the file and not in the picture.
    pub(super) fn standalone(&self, title: &str, caption: &str) -> String {
        let height = self.height + 2.0 * RIM;
        let mut out = self.opened(title, caption, -RIM, height, true);
        let _ = write!(
            out,
            "<rect x=\"0\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#FFFFFF\"/>",
            -RIM * UNITS,
            self.width * UNITS,
            height * UNITS
        );
        out.push_str(&self.body);
        out.push_str("</svg>\n");
        out
    }

    fn opened(&self, title: &str, caption: &str, top: f64, height: f64, sized: bool) -> String {
        let size = if sized {
            format!(" width=\"{}\" height=\"{height}\"", self.width)
        } else {
            String::new()
        };
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\"{size} viewBox=\"0 {} {} {}\" role=\"img\" \
             font-family=\"{FACES}\"><title>{}</title>",
            top * UNITS,
            self.width * UNITS,
            height * UNITS,
            escape(title)
        );
        if !caption.is_empty() {
            let _ = write!(out, "<desc>{}</desc>", escape(caption));
        }
        out
    }
}

/// The pixels of an SVG document, as a PNG file.
pub(super) fn png(name: &str, svg: &str) -> Result<Vec<u8>, ReportError> {
    let failed = |reason: String| ReportError::Drawing {
        figure: name.into(),
        reason,
    };
    let options = Options {
        fontdb: faces(),
        font_family: "Noto Sans".into(),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(error.to_string()))?;
    let size = tree
        .size()
        .to_int_size()
        .scale_by(SHARPNESS)
        .ok_or_else(|| failed("it has no size".into()))?;
    let mut pixels =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| failed("it is too large".into()))?;
    let scale = Transform::from_scale(SHARPNESS, SHARPNESS);
    resvg::render(&tree, scale, &mut pixels.as_mut());
    pixels
        .encode_png()
        .map_err(|error| failed(error.to_string()))
}

/// The only faces that are used: those of the machine would make every machine's pixels differ.
fn faces() -> Arc<Database> {
    static FACES: OnceLock<Arc<Database>> = OnceLock::new();
    let faces = FACES.get_or_init(|| {
        let mut faces = Database::new();
        faces.load_font_data(notosans::REGULAR_TTF.to_vec());
        faces.load_font_data(notosans::BOLD_TTF.to_vec());
        faces.set_sans_serif_family("Noto Sans");
        Arc::new(faces)
    });
    Arc::clone(faces)
}
