//! Kubernetes and Docker compose: real machines, real time, the client's own rate limits.

use std::fmt::Write;

use super::{
    script::{Group, PORT, ROUTER, Script, Work, recipe},
    yaml::Yaml,
};
use crate::scenario::Plan;

/// The image's files.
const DOCKERFILE: &str = "\
# The image of every node: docker build -t mainswarm .   (with a mainswarm binary beside this file)
FROM debian:stable-slim
COPY mainswarm /usr/local/bin/mainswarm
WORKDIR /data
";

const IMAGE: &str = "mainswarm";

/// `kubernetes.yaml` and `Dockerfile`.
pub(super) fn kubernetes(script: &Script, plan: &Plan) -> Vec<(&'static str, String)> {
    let how = [
        "Build the image and push it to where the cluster finds it (see Dockerfile), then:",
        "kubectl apply -f kubernetes.yaml",
        "Then: kubectl logs --prefix --tail=-1 --max-log-requests=1000 -l testnet=NAME > log",
        "      testnet collect SCENARIO --from log",
    ];
    let how = how.map(|line| line.replace("NAME", &script.name));
    let mut lost = losses();
    lost.extend(Script::undelayed(plan));
    let router = format!("{}-{ROUTER}", script.name);
    let mut documents = vec![service(script, &router)];
    for group in script.groups.iter().filter(|group| group.count > 0) {
        documents.push(job(script, group, &router));
    }
    let mut out = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index == 0 {
            out += &document.document(&script.comments(&how, &lost));
        } else {
            out += &document
                .document(&["---".into()])
                .replacen("# ---", "---", 1);
        }
    }
    vec![
        ("kubernetes.yaml", out),
        ("Dockerfile", DOCKERFILE.to_owned()),
    ]
}

fn losses() -> Vec<String> {
    vec![
        "Rates are held by the program itself, which counts payload and not headers.".to_owned(),
        "The seed: programs draw from the system's random numbers; TESTNET_SEED names the run in \
         their output."
            .to_owned(),
    ]
}

fn labels(script: &Script, group: &str) -> Yaml {
    Yaml::map([
        ("testnet", Yaml::text(&*script.name)),
        ("class", Yaml::text(group)),
    ])
}

/// The routers' name: one address for each.
fn service(script: &Script, router: &str) -> Yaml {
    let port = |protocol: &str| {
        Yaml::map([
            ("name", Yaml::text(protocol.to_ascii_lowercase())),
            ("protocol", Yaml::text(protocol)),
            ("port", Yaml::Number(u64::from(PORT))),
        ])
    };
    Yaml::map([
        ("apiVersion", Yaml::text("v1")),
        ("kind", Yaml::text("Service")),
        (
            "metadata",
            Yaml::map([
                ("name", Yaml::text(router)),
                ("labels", labels(script, ROUTER)),
            ]),
        ),
        (
            "spec",
            Yaml::map([
                ("clusterIP", Yaml::text("None")),
                ("publishNotReadyAddresses", Yaml::Flag(true)),
                ("selector", labels(script, ROUTER)),
                ("ports", Yaml::List(vec![port("UDP"), port("TCP")])),
            ]),
        ),
    ])
}

/// A class as an indexed job.
fn job(script: &Script, group: &Group, router: &str) -> Yaml {
    let count = Yaml::Number(group.count as u64);
    let container = Yaml::map([
        ("name", Yaml::text("node")),
        ("image", Yaml::text(IMAGE)),
        ("imagePullPolicy", Yaml::text("IfNotPresent")),
        ("command", Yaml::texts(["sh", "-ec"])),
        (
            "args",
            Yaml::texts([shell(script, group, router, "$JOB_COMPLETION_INDEX")]),
        ),
        (
            "env",
            Yaml::List(vec![Yaml::map([
                ("name", Yaml::text("TESTNET_SEED")),
                ("value", Yaml::text(script.seed.to_string())),
            ])]),
        ),
    ]);
    let pod = Yaml::map([
        (
            "metadata",
            Yaml::map([("labels", labels(script, &group.name))]),
        ),
        (
            "spec",
            Yaml::map([
                ("restartPolicy", Yaml::text("Never")),
                ("containers", Yaml::List(vec![container])),
            ]),
        ),
    ]);
    let name = format!("{}-{}", script.name, group.name);
    Yaml::map([
        ("apiVersion", Yaml::text("batch/v1")),
        ("kind", Yaml::text("Job")),
        (
            "metadata",
            Yaml::map([
                ("name", Yaml::text(name)),
                ("labels", labels(script, &group.name)),
            ]),
        ),
        (
            "spec",
            Yaml::map([
                ("completionMode", Yaml::text("Indexed")),
                ("completions", count.clone()),
                ("parallelism", count),
                ("backoffLimit", Yaml::Number(0)),
                (
                    "activeDeadlineSeconds",
                    Yaml::Number(script.stop.as_secs().max(1)),
                ),
                ("template", pod),
            ]),
        ),
    ])
}

/// `compose.yaml` and `Dockerfile`.
pub(super) fn compose(script: &Script, plan: &Plan) -> Vec<(&'static str, String)> {
    let how = [
        "Build the image (see Dockerfile), then: docker compose up",
        "Then: docker compose logs --no-color > log && testnet collect SCENARIO --from log",
    ];
    let mut lost = losses();
    lost.extend(Script::undelayed(plan));
    let spread = script
        .groups
        .iter()
        .filter(|group| group.count > 1 && !group.step.is_zero() && !differ(script, group));
    for group in spread {
        lost.push(format!(
            "Class {}: all start together, {:.1} s after the first container; replicas do not know \
             which they are.",
            group.name,
            group.start.as_secs_f64()
        ));
    }
    lost.push("Containers do not stop by themselves: docker compose down.".into());
    let mut services = Vec::new();
    for group in script.groups.iter().filter(|group| group.count > 0) {
        // Those that do not do the same are services of their own.
        if differ(script, group) {
            for index in 0..group.count {
                let name = format!("{}-{index}", group.name);
                services.push((name, service_of(script, group, index, 1)));
            }
        } else {
            services.push((
                group.name.clone(),
                service_of(script, group, 0, group.count),
            ));
        }
    }
    let compose = Yaml::map([
        ("name", Yaml::text(&*script.name)),
        ("services", Yaml::Map(services)),
    ]);
    let text = compose.document(&script.comments(&how.map(str::to_owned), &lost));
    vec![
        ("compose.yaml", text),
        ("Dockerfile", DOCKERFILE.to_owned()),
    ]
}

/// Whether each node of a group does something of its own.
fn differ(script: &Script, group: &Group) -> bool {
    match group.work {
        Work::Share => script.contents.len() > 1,
        Work::LookUp { .. } => true,
        Work::Node | Work::Get(_) => false,
    }
}

fn service_of(script: &Script, group: &Group, index: usize, replicas: usize) -> Yaml {
    let seed = Yaml::map([("TESTNET_SEED", Yaml::text(script.seed.to_string()))]);
    // A dollar sign is compose's own unless it is doubled.
    let shell = shell(script, group, ROUTER, &index.to_string()).replace('$', "$$");
    Yaml::map([
        ("image", Yaml::text(IMAGE)),
        (
            "command",
            Yaml::texts(["sh".to_owned(), "-ec".to_owned(), shell]),
        ),
        ("environment", seed),
        ("stop_signal", Yaml::text("SIGINT")),
        (
            "deploy",
            Yaml::map([("replicas", Yaml::Number(replicas as u64))]),
        ),
    ])
}

/// The shell text of a node: says who it is, waits for its time, makes what it shares, and becomes
/// the program. `index` is the shell's word for its number.
fn shell(script: &Script, group: &Group, router: &str, index: &str) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "i={index}");
    // Read back by `testnet collect`: which node this is, of which run.
    let _ = writeln!(
        out,
        "echo \"{{\\\"testnet\\\":\\\"{}\\\",\\\"class\\\":\\\"{}\\\",\\\"index\\\":$i,\
         \\\"seed\\\":$((TESTNET_SEED + i))}}\"",
        script.name, group.name
    );
    let _ = writeln!(
        out,
        "ms=$(({} + i * {}))",
        group.start.as_millis(),
        group.step.as_millis()
    );
    out.push_str("sleep \"$((ms / 1000)).$(printf %03d $((ms % 1000)))\"\n");
    let routers = if group.name == ROUTER {
        Vec::new()
    } else {
        vec![router.to_owned()]
    };
    match &group.work {
        Work::Share => share(script, group, &routers, &mut out),
        Work::LookUp { every, times } => {
            let hashes: Vec<&str> = script.contents.iter().map(|c| &*c.info_hash).collect();
            let pause = every.as_secs_f64();
            let _ = writeln!(out, "set -- {}", hashes.join(" "));
            let command = script.commands(group, 0, true, "", &routers);
            let words: Vec<String> = command.first().map_or(Vec::new(), |(_, words)| {
                words.iter().map(|word| quoted(word)).collect()
            });
            // The place of the info-hash in `dht peers HASH …`.
            let (head, tail) = words.split_at(words.len().min(2));
            let tail = tail.get(1..).unwrap_or_default().join(" ");
            let _ = writeln!(
                out,
                "n=0\nwhile [ $n -lt {times} ]; do\n  k=$(((i * {times} + n) % $#))\n  \
                 hash=$(shift $k; echo \"$1\")\n  echo \"{{\\\"lookup\\\":\\\"$hash\\\"}}\"\n  \
                 mainswarm {} \"$hash\" {tail} || true\n  n=$((n + 1))\n  sleep {pause}\ndone",
                head.join(" ")
            );
        }
        Work::Node | Work::Get(_) => {
            for (_, words) in script.commands(group, 0, true, "", &routers) {
                let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                let _ = writeln!(out, "exec mainswarm {}", words.join(" "));
            }
        }
    }
    out
}

/// Makes the file first. A group of several shares a file each, if there are so many.
fn share(script: &Script, group: &Group, routers: &[String], out: &mut String) {
    let several = script.contents.len() > 1;
    let count = if several { group.count } else { 1 };
    if several {
        out.push_str("case $i in\n");
    }
    for index in 0..count {
        let Some(content) = script.contents.get(index) else {
            continue;
        };
        if several {
            let _ = writeln!(out, "{index})");
        }
        let _ = writeln!(out, "{} > {}", recipe(content), content.name);
        for (_, words) in script.commands(group, index, true, "", routers) {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            let _ = writeln!(out, "exec mainswarm {}", words.join(" "));
        }
        if several {
            out.push_str(";;\n");
        }
    }
    if several {
        out.push_str("esac\n");
    }
}

/// A word as the shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        for (word, text) in [
            ("--up", "--up"),
            ("magnet:?xt=urn&dn=a", "'magnet:?xt=urn&dn=a'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), text);
        }
    }
}
