//! Drawing: a plot is axes and marks in the units of its data; this places them on paper.
//!
//! The look is a journal's: thin axes, lines named at their ends rather than in a box, colours that
//! colour-blind readers tell apart (Okabe and Ito), dashes and shapes for prints without any. Lengths
//! are in CSS pixels; the drawing has ten units to a pixel, because the library places by whole
//! units.

use std::ops::Range;

use plotters::{
    coord::{Shift, cartesian::Cartesian2d, types::RangedCoordf64},
    element::{DashedPathElement, PathElement, Polygon, Rectangle},
    prelude::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, RGBColor, SVGBackend},
    style::{
        Color, FontFamily, FontStyle, IntoTextStyle, ShapeStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{
    ReportError,
    axis::{Axis, drawable},
    svg::Drawing,
    text::{printable, shortened},
};

/// Drawing units in a pixel.
pub(super) const UNITS: f64 = 10.0;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x26, 0x2B);
pub(super) const GREY: RGBColor = RGBColor(0x6B, 0x72, 0x7B);
pub(super) const GRID: RGBColor = RGBColor(0xE3, 0xE6, 0xEA);
pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
pub(super) const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
pub(super) const VERMILION: RGBColor = RGBColor(0xD5, 0x5E, 0x00);
pub(super) const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);
pub(super) const PURPLE: RGBColor = RGBColor(0xB0, 0x5A, 0x8E);
pub(super) const ORANGE: RGBColor = RGBColor(0xC9, 0x8A, 0x00);
pub(super) const SKY: RGBColor = RGBColor(0x3F, 0x9F, 0xD8);

/// The colour of the n-th of several lines.
pub(super) fn colour(index: usize) -> RGBColor {
    [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY][index % 7]
}

/// A point in the units of the data.
pub(super) type Point = (f64, f64);

/// How a mark is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ink {
    colour: RGBColor,
    alpha: f64,
    width: f64,
    dash: Option<Dash>,
}

/// Dashes and gaps in pixels: what tells lines apart in print without colours.
type Dash = (f64, f64);

impl Ink {
    /// A line of this colour.
    pub(super) fn of(colour: RGBColor) -> Self {
        Self {
            colour,
            alpha: 1.0,
            width: 1.8,
            dash: None,
        }
    }

    /// See-through.
    pub(super) fn faint(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    /// As thick as so many pixels.
    pub(super) fn width(self, width: f64) -> Self {
        Self { width, ..self }
    }

    /// In dashes.
    pub(super) fn dashed(self) -> Self {
        let dash = Some((6.0, 4.0));
        Self { dash, ..self }
    }

    /// In dots.
    pub(super) fn dotted(self) -> Self {
        let dash = Some((1.6, 3.2));
        Self { dash, ..self }
    }

    /// The n-th of several lines: each has its own colour and its own dashes.
    pub(super) fn nth(index: usize) -> Self {
        let dashes = [
            None,
            Some((9.0, 4.0)),
            Some((2.2, 3.2)),
            Some((14.0, 5.0)),
            Some((5.0, 2.5)),
        ];
        Self {
            dash: dashes[index % dashes.len()],
            ..Self::of(colour(index))
        }
    }

    /// Without dashes: points and bars.
    pub(super) fn solid(self) -> Self {
        Self { dash: None, ..self }
    }

    fn stroke(&self) -> ShapeStyle {
        self.colour
            .mix(self.alpha)
            .stroke_width((self.width * UNITS) as u32)
    }

    fn fill(&self) -> ShapeStyle {
        self.colour.mix(self.alpha).filled()
    }
}

/// The shape of a measured point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// Filled.
    Dot,
    /// Filled.
    Square,
    /// Filled.
    Triangle,
    /// Hollow and square on its tip.
    Diamond,
    /// A cross: a point that does not count.
    Cross,
}

/// The shape of the n-th line's points.
pub(super) fn shape(index: usize) -> Shape {
    [Shape::Dot, Shape::Square, Shape::Triangle, Shape::Diamond][index % 4]
}

/// How large a point of this shape is, in pixels from its middle, so that all look alike large.
pub(super) fn size(shape: Shape) -> f64 {
    match shape {
        Shape::Dot => 3.6,
        Shape::Square => 3.2,
        Shape::Triangle => 4.0,
        Shape::Diamond => 5.5,
        Shape::Cross => 4.5,
    }
}

/// Something in a plot.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    /// A line through points.
    Line(Vec<Point>, Ink),
    /// The area between two lines.
    Band(Vec<Point>, Vec<Point>, Ink),
    /// A rectangle between two corners.
    Block(Point, Point, Ink),
    /// A measured point.
    Point(Point, Shape, Ink),
    /// An error bar: x, from, to.
    Whisker(f64, f64, f64, Ink),
    /// A line from bottom to top, named beside it.
    Upright(f64, Ink, String),
    /// Words: where, what, their colour, how they lie to the place, bold.
    Words(Point, String, RGBColor, Lie, bool),
}

/// How words lie to the place that they are at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Lie {
    /// Above it, from there to the right.
    Above,
    /// Begins right of it.
    Right,
    /// Ends left of it.
    Left,
    /// On it.
    On,
}

/// A line's name in the right margin, at the height of the line's end, behind a piece of the line:
/// names that lie close are moved apart, and a print may have no colours.
#[derive(Debug, Clone)]
struct Name {
    y: f64,
    text: String,
    ink: Ink,
    shape: Option<Shape>,
}

/// Axes, what is between them, and names of lines in the right margin.
#[derive(Debug, Clone)]
pub(super) struct Plot {
    /// Left to right.
    pub(super) x: Axis,
    /// Bottom to top.
    pub(super) y: Axis,
    /// In the order of drawing.
    pub(super) marks: Vec<Mark>,
    names: Vec<Name>,
}

impl Plot {
    /// Nothing between two axes.
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        Self {
            x,
            y,
            marks: Vec::new(),
            names: Vec::new(),
        }
    }

    /// A level from side to side, named in the margin.
    pub(super) fn level(&mut self, y: f64, name: &str, colour: RGBColor) {
        self.limit(y, name, Ink::of(colour).width(1.0).dashed());
    }

    /// The same in an ink of its own.
    pub(super) fn limit(&mut self, y: f64, name: &str, ink: Ink) {
        let (from, to) = (f64::MIN, f64::MAX);
        self.marks.push(Mark::Line(vec![(from, y), (to, y)], ink));
        self.name(y, name, ink);
    }

    /// Names a line where it ends.
    pub(super) fn name(&mut self, y: f64, text: &str, ink: Ink) {
        self.names.push(Name {
            y,
            text: text.into(),
            ink,
            shape: None,
        });
    }

    /// The same of a line with points.
    pub(super) fn name_points(&mut self, y: f64, text: &str, ink: Ink, shape: Shape) {
        self.name(y, text, ink);
        if let Some(name) = self.names.last_mut() {
            name.shape = Some(shape);
        }
    }

    /// What the names in the margin need.
    fn margin(&self) -> f64 {
        let longest = self
            .names
            .iter()
            .map(|name| width_of(&shortened(&name.text, NAME_CHARS)) + SAMPLE)
            .fold(0.0, f64::max);
        (longest + 18.0).max(26.0)
    }

    /// Rows that names of upright lines need above the title's.
    fn names_above(&self) -> f64 {
        let upright = |mark: &&Mark| matches!(mark, Mark::Upright(x, ..) if drawable(*x));
        self.marks.iter().filter(upright).count().saturating_sub(1) as f64
    }

    /// One plot by itself.
    pub(super) fn draw(&self, name: &str, height: f64) -> Result<Drawing, ReportError> {
        draw(name, WIDTH, height, &[(self, 0.0..height)])
    }
}

/// A drawing's usual width in pixels.
pub(super) const WIDTH: f64 = 720.0;

/// How far names of upright lines are apart, one above the other.
const UPRIGHT_ROW: f64 = 16.0;

/// Text size in pixels.
const TEXT: f64 = 12.5;

/// Where titles of heights begin.
const TITLE_LEFT: f64 = 12.0;

/// About how wide words are.
fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * TEXT * 0.57
}

/// Longer names in the margin are cut.
const NAME_CHARS: usize = 32;

/// What the piece of a line before its name needs.
const SAMPLE: f64 = 30.0;

/// Several plots one below the other, each in its range of heights, with common left and right ends.
pub(super) fn draw(
    name: &str,
    width: f64,
    height: f64,
    plots: &[(&Plot, Range<f64>)],
) -> Result<Drawing, ReportError> {
    let margin = plots.iter().map(|(plot, _)| plot.margin());
    let right = width - margin.fold(0.0, f64::max);
    let numbers = plots.iter().flat_map(|(plot, _)| &plot.y.ticks);
    let longest = numbers.map(|(_, text)| text.chars().count()).max();
    let left = 24.0 + longest.unwrap_or(0) as f64 * TEXT * 0.6;
    let mut body = String::new();
    let size = ((width * UNITS) as u32, (height * UNITS) as u32);
    let drawn = (|| {
        let root = SVGBackend::with_string(&mut body, size).into_drawing_area();
        for (plot, heights) in plots {
            let frame = Frame {
                left,
                right: right.max(left + 60.0),
                top: heights.start + 34.0 + plot.names_above() * UPRIGHT_ROW,
                bottom: heights.end - 46.0,
            };
            Sheet::new(&root, plot, frame).draw()?;
        }
        root.present()
    })();
    drawn.map_err(|error: Failure| ReportError::Drawing {
        figure: name.into(),
        reason: error.to_string(),
    })?;
    Ok(Drawing::new(width, height, &body))
}

type Failure = DrawingAreaErrorKind<std::io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Where a plot's axes are, in pixels.
#[derive(Debug, Clone, Copy)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// A plot being drawn: by pixel on `root`, by data on `plane`.
struct Sheet<'a, 'b> {
    root: &'b Area<'a>,
    plane: Plane<'a>,
    plot: &'b Plot,
    frame: Frame,
}

fn units(pixels: f64) -> i32 {
    (pixels * UNITS).round() as i32
}

impl<'a, 'b> Sheet<'a, 'b> {
    fn new(root: &'b Area<'a>, plot: &'b Plot, frame: Frame) -> Self {
        let (x, y) = (plot.x.ends, plot.y.ends);
        let paper = (
            units(frame.left)..units(frame.right),
            units(frame.bottom)..units(frame.top),
        );
        let plane = root.apply_coord_spec(Cartesian2d::new(x.0..x.1, y.0..y.1, paper));
        Self {
            root,
            plane,
            plot,
            frame,
        }
    }

    fn draw(&self) -> Result<(), Failure> {
        self.axes()?;
        let mut rows = 0;
        for mark in &self.plot.marks {
            self.mark(mark, &mut rows)?;
        }
        self.names()
    }

    /// Grid lines of the heights, the bottom line, ticks, numbers and titles.
    fn axes(&self) -> Result<(), Failure> {
        let Frame {
            left,
            right,
            top,
            bottom,
        } = self.frame;
        for (place, text) in &self.plot.y.ticks {
            let y = f64::from(self.plane.map_coordinate(&(self.plot.x.ends.0, *place)).1) / UNITS;
            if self.plot.y.grid {
                self.stroke(&[(left, y), (right, y)], GRID, 0.8)?;
            }
            self.words(
                (left - 8.0, y),
                text,
                GREY,
                (HPos::Right, VPos::Center),
                false,
            )?;
        }
        self.stroke(&[(left, bottom), (right, bottom)], INK, 1.0)?;
        let mut free = f64::MIN;
        for (place, text) in &self.plot.x.ticks {
            let x = f64::from(self.plane.map_coordinate(&(*place, self.plot.y.ends.0)).0) / UNITS;
            self.stroke(&[(x, bottom), (x, bottom + 4.0)], INK, 1.0)?;
            let half = text.chars().count() as f64 * TEXT * 0.29;
            if x - half > free {
                let below = (HPos::Center, VPos::Top);
                self.words((x, bottom + 8.0), text, GREY, below, false)?;
                free = x + half + 6.0;
            }
        }
        let middle = (left + right) / 2.0;
        let below = (HPos::Center, VPos::Top);
        self.words(
            (middle, bottom + 25.0),
            &self.plot.x.title,
            INK,
            below,
            false,
        )?;
        let above = (HPos::Left, VPos::Bottom);
        self.words(
            (TITLE_LEFT, top - 10.0),
            &self.plot.y.title,
            INK,
            above,
            false,
        )
    }

    fn mark(&self, mark: &Mark, rows: &mut u32) -> Result<(), Failure> {
        match mark {
            Mark::Line(points, ink) => {
                let points = self.thinned(points);
                self.line(points, ink)
            }
            Mark::Band(lower, upper, ink) => {
                let mut outline = self.thinned(lower);
                outline.extend(self.thinned(upper).into_iter().rev());
                self.plane.draw(&Polygon::new(outline, ink.fill()))
            }
            Mark::Block(from, to, ink) => {
                let corners = self.placed(&[*from, *to]);
                match corners[..] {
                    [from, to] => self.plane.draw(&Rectangle::new([from, to], ink.fill())),
                    _ => Ok(()),
                }
            }
            Mark::Point(at, shape, ink) => self.point(*at, *shape, ink),
            Mark::Whisker(x, from, to, ink) => {
                let ends = self.placed(&[(*x, *from), (*x, *to)]);
                if ends.len() == 2 && ends[0] != ends[1] {
                    self.plane.draw(&PathElement::new(ends, ink.stroke()))?;
                }
                Ok(())
            }
            Mark::Upright(x, ink, name) => {
                if drawable(*x) {
                    self.upright(self.plot.x.place(*x), ink, name, rows)?;
                }
                Ok(())
            }
            Mark::Words(at, text, colour, lie, bold) => {
                let Some(place) = self.placed(&[*at]).pop() else {
                    return Ok(());
                };
                let (x, y) = self.plane.map_coordinate(&place);
                let (x, y) = (f64::from(x) / UNITS, f64::from(y) / UNITS);
                let (place, anchor) = match lie {
                    Lie::Above => {
                        let last = self.frame.right + 22.0 - width_of(text);
                        ((last.min(x - 4.0), y - 7.0), (HPos::Left, VPos::Bottom))
                    }
                    Lie::Right => ((x + 8.0, y), (HPos::Left, VPos::Center)),
                    Lie::Left => ((x - 8.0, y), (HPos::Right, VPos::Center)),
                    Lie::On => ((x, y), (HPos::Center, VPos::Center)),
                };
                self.written(place, text, *colour, anchor, *bold, *lie != Lie::On)
            }
        }
    }

    fn line(&self, points: Vec<Point>, ink: &Ink) -> Result<(), Failure> {
        let Some((dash, gap)) = ink.dash else {
            return self.plane.draw(&PathElement::new(points, ink.stroke()));
        };
        let (dash, gap) = (units(dash), units(gap));
        let line = DashedPathElement::new(points, dash, gap, ink.stroke());
        self.plane.draw(&line)
    }

    fn upright(&self, x: f64, ink: &Ink, name: &str, rows: &mut u32) -> Result<(), Failure> {
        let (low, high) = self.plot.y.ends;
        let line = vec![(x, low), (x, high)];
        self.line(line, ink)?;
        let (x, top) = self.plane.map_coordinate(&(x, high));
        let (x, top) = (f64::from(x) / UNITS, f64::from(top) / UNITS);
        // Above the plot, where no curve is, and right of the title.
        let y = top - 10.0 - f64::from(*rows) * UPRIGHT_ROW;
        *rows += 1;
        let half = width_of(name) / 2.0;
        let first = TITLE_LEFT + width_of(&self.plot.y.title) + 16.0 + half;
        let last = self.frame.right.max(x) + 40.0 - half;
        let x = x.min(last).max(first);
        let over = (HPos::Center, VPos::Bottom);
        self.words((x, y), name, ink.colour, over, false)
    }

    fn point(&self, at: Point, shape: Shape, ink: &Ink) -> Result<(), Failure> {
        let Some(place) = self.placed(&[at]).pop() else {
            return Ok(());
        };
        self.shape(self.plane.map_coordinate(&place), shape, ink)
    }

    fn shape(&self, (x, y): (i32, i32), shape: Shape, ink: &Ink) -> Result<(), Failure> {
        let r = units(ink.width);
        let corners = [(x - r, y), (x, y + r), (x + r, y), (x, y - r), (x - r, y)];
        let line = ink.colour.mix(ink.alpha).stroke_width(units(1.5) as u32);
        match shape {
            Shape::Dot => {
                // A rim of paper keeps neighbours apart.
                let rim = r + units(0.8);
                let rim = plotters::element::Circle::new((x, y), rim, PAPER.filled());
                self.root.draw(&rim)?;
                self.root
                    .draw(&plotters::element::Circle::new((x, y), r, ink.fill()))
            }
            Shape::Square | Shape::Triangle => {
                let all = match shape {
                    Shape::Square => vec![
                        (x - r, y - r),
                        (x + r, y - r),
                        (x + r, y + r),
                        (x - r, y + r),
                    ],
                    _ => vec![(x - r, y + r), (x + r, y + r), (x, y - r)],
                };
                self.root.draw(&Polygon::new(all, ink.fill()))
            }
            Shape::Diamond => {
                // Hollow, so that a simulated point under a live one is seen.
                self.root.draw(&PathElement::new(corners.to_vec(), line))
            }
            Shape::Cross => {
                for (from, to) in [
                    ((x - r, y - r), (x + r, y + r)),
                    ((x - r, y + r), (x + r, y - r)),
                ] {
                    self.root.draw(&PathElement::new(vec![from, to], line))?;
                }
                Ok(())
            }
        }
    }

    /// Names in the right margin, moved apart where they would lie on each other.
    fn names(&self) -> Result<(), Failure> {
        let mut names: Vec<(f64, &Name)> = Vec::new();
        for name in self.plot.names.iter().filter(|name| drawable(name.y)) {
            let place = (self.plot.x.ends.0, self.plot.y.place(name.y));
            let (_, y) = self.plane.map_coordinate(&place);
            names.push((f64::from(y) / UNITS, name));
        }
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let apart = TEXT + 2.5;
        let heights: Vec<f64> = names.iter().map(|(y, _)| *y).collect();
        let heights = spread(&heights, apart, self.frame.top, self.frame.bottom);
        for (
            (
                _,
                Name {
                    text, ink, shape, ..
                },
            ),
            y,
        ) in names.iter().zip(heights)
        {
            let left = self.frame.right + 8.0;
            let (from, to) = ((units(left), units(y)), (units(left + 22.0), units(y)));
            match ink.dash {
                Some((dash, gap)) => {
                    let (dash, gap) = (units(dash), units(gap));
                    let line = DashedPathElement::new([from, to], dash, gap, ink.stroke());
                    self.root.draw(&line)?;
                }
                None => self
                    .root
                    .draw(&PathElement::new([from, to], ink.stroke()))?,
            }
            if let Some(shape) = shape {
                let ink = ink.solid().width(size(*shape));
                self.shape((from.0 + units(11.0), from.1), *shape, &ink)?;
            }
            let text = shortened(text, NAME_CHARS);
            let place = (left + SAMPLE - 3.0, y);
            self.words(place, &text, ink.colour, (HPos::Left, VPos::Center), false)?;
        }
        Ok(())
    }

    fn stroke(&self, pixels: &[Point], colour: RGBColor, width: f64) -> Result<(), Failure> {
        let path: Vec<(i32, i32)> = pixels.iter().map(|(x, y)| (units(*x), units(*y))).collect();
        let style = colour.stroke_width((width * UNITS) as u32);
        self.root.draw(&PathElement::new(path, style))
    }

    /// Words with a rim of paper, so that lines behind them do not cross them out.
    fn words(
        &self,
        at: Point,
        text: &str,
        colour: RGBColor,
        anchor: (HPos, VPos),
        bold: bool,
    ) -> Result<(), Failure> {
        self.written(at, text, colour, anchor, bold, true)
    }

    fn written(
        &self,
        at: Point,
        text: &str,
        colour: RGBColor,
        anchor: (HPos, VPos),
        bold: bool,
        rim: bool,
    ) -> Result<(), Failure> {
        let style = if bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let family = FontFamily::Name(if rim { "rim" } else { "plain" });
        // The library's size is of a line, 1.24 times the letters'.
        let font = (family, TEXT * UNITS * 1.24, style);
        let style = font.into_text_style(self.root).color(&colour);
        let style = style.pos(Pos::new(anchor.0, anchor.1));
        let text: String = text.chars().map(printable).collect();
        self.root
            .draw_text(&text, &style, (units(at.0), units(at.1)))
    }

    /// Where points are drawn; those that are no numbers are left out.
    fn placed(&self, points: &[Point]) -> Vec<Point> {
        points
            .iter()
            .filter(|(x, y)| drawable(*x) && drawable(*y))
            .map(|(x, y)| (self.plot.x.place(*x), self.plot.y.place(*y)))
            .collect()
    }

    /// A line's points: of those that share a pixel only the first, least, greatest and last.
    fn thinned(&self, points: &[Point]) -> Vec<Point> {
        let (x, y) = (&self.plot.x, &self.plot.y);
        let placed: Vec<Point> = points
            .iter()
            .filter(|(_, y)| drawable(*y))
            .filter(|(x, _)| !x.is_nan())
            .map(|(at, height)| (x.place(*at), y.place(*height)))
            .collect();
        if placed.len() < 400 {
            return placed;
        }
        let pixel = |point: &Point| f64::from(self.plane.map_coordinate(point).0) / UNITS;
        let mut kept: Vec<Point> = Vec::new();
        for same in placed.chunk_by(|a, b| pixel(a).floor() == pixel(b).floor()) {
            let least = (0..same.len()).min_by(|a, b| same[*a].1.total_cmp(&same[*b].1));
            let greatest = (0..same.len()).max_by(|a, b| same[*a].1.total_cmp(&same[*b].1));
            let mut keep = vec![0, same.len() - 1];
            keep.extend(least.into_iter().chain(greatest));
            keep.sort_unstable();
            keep.dedup();
            kept.extend(keep.into_iter().map(|index| same[index]));
        }
        kept
    }
}

/// Heights near the wanted ones (which ascend), at least `apart` from each other, and between `top`
/// and `bottom` as far as there is room.
fn spread(wanted: &[f64], apart: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut heights = wanted.to_vec();
    for index in 1..heights.len() {
        heights[index] = heights[index].max(heights[index - 1] + apart);
    }
    // Pushed beyond the bottom: back up from there.
    let mut most = bottom;
    for height in heights.iter_mut().rev() {
        *height = height.min(most);
        most = *height - apart;
    }
    let above = top - heights.first().copied().unwrap_or(top);
    heights
        .iter()
        .map(|height| height + above.max(0.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_lie_on_each_other() {
        for wanted in [
            vec![5.0, 5.0, 5.0],
            vec![95.0, 98.0, 99.0],
            vec![0.0, 50.0, 51.0],
        ] {
            let heights = spread(&wanted, 15.0, 0.0, 100.0);
            for pair in heights.windows(2) {
                assert!(pair[1] - pair[0] >= 15.0 - 1e-9, "{wanted:?} {heights:?}");
            }
            assert!(
                heights[0] >= 0.0 && heights[2] <= 100.0 + 1e-9,
                "{heights:?}"
            );
        }
        assert!(spread(&[], 15.0, 0.0, 100.0).is_empty());
    }

    #[test]
    fn long_lines_keep_their_peaks() {
        let mut points: Vec<Point> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        points[77_777].1 = 9.0;
        points[33_333].1 = f64::NAN;
        let mut plot = Plot::new(
            Axis::linear("x", 0.0, 100_000.0),
            Axis::from_zero("y", 10.0),
        );
        plot.marks.push(Mark::Line(points.clone(), Ink::of(BLUE)));
        let drawing = plot.draw("test", 300.0).unwrap();
        assert!(drawing.body().len() < 60_000, "{}", drawing.body().len());
        // The peak is the only point at its height.
        plot.marks = vec![Mark::Line(vec![(77_777.0, 9.0)], Ink::of(BLUE))];
        assert!(drawing.body().contains("points="));
        let root_height = |plot: &Plot| plot.draw("test", 300.0).unwrap().body().to_string();
        let peak = root_height(&plot);
        let y = peak
            .split("points=\"")
            .last()
            .and_then(|rest| rest.split([',', ' ']).nth(1))
            .unwrap()
            .to_string();
        assert!(drawing.body().contains(&format!(",{y} ")), "{y}");
    }
}
