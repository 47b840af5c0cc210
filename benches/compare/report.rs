//! The report: Markdown for people, JSON for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;

use serde_json::{Value, json};

use crate::fill::Filled;
use crate::limits::Limits;
use crate::live::{Live, Spread};
use crate::process::Measured;
use crate::{Plan, Ran, picture, root};

pub struct Report<'a> {
    pub plan: &'a Plan,
    pub filled: &'a Filled,
    pub bare: &'a Measured,
    pub limits: &'a Limits,
    pub programs: &'a [Ran],
}

/// A figure of every run: its name, how it is got, its digits.
type Figure = (&'static str, fn(&Measured, f64) -> f64, usize);

const FIGURES: [Figure; 10] = [
    ("records/s, from the first commit to the last", |run, _| run.rate, 0),
    ("… of the second half: all are registered and connected", |run, _| run.second_half, 0),
    ("seconds from the start of the process to caught up", |run, _| run.seconds, 1),
    ("… of them until the first commit", |run, _| run.first, 1),
    ("processor seconds a million records", |run, million| run.cpu_seconds / million, 2),
    ("… of the broker, meanwhile", |run, million| run.broker_cpu_seconds / million, 2),
    ("peak resident, MiB", |run, _| run.peak_kib as f64 / 1024.0, 0),
    ("bytes to Kafka a record", |run, million| run.kafka_total() as f64 / million / 1e6, 1),
    ("bytes to disk a record, its own", |run, million| run.disk_bytes as f64 / million / 1e6, 1),
    ("load of the machine before it", |run, _| run.load, 1),
];

type LiveFigure = fn(&Live) -> String;

fn median(mut numbers: Vec<f64>) -> (f64, f64, f64) {
    numbers.sort_by(f64::total_cmp);
    (numbers[numbers.len() / 2], numbers[0], numbers[numbers.len() - 1])
}

impl Report<'_> {
    /// Writes it; what they disagree about.
    pub fn write(&self) -> Vec<String> {
        let mut differences = Vec::new();
        for peer in self.peers() {
            for (ours, theirs) in self.lastseen().said.iter().zip(&peer.said) {
                let found = ours.differences(theirs);
                differences.extend(found.into_iter().map(|words| format!("{}: {words}", peer.title)));
            }
        }
        std::fs::create_dir_all(&self.plan.out).expect("a directory");
        let text = self.markdown(&differences);
        std::fs::write(self.plan.out.join("report.md"), &text).expect("written");
        std::fs::write(self.plan.out.join("report.svg"), self.picture()).expect("written");
        let json = serde_json::to_string_pretty(&self.json(&differences)).expect("JSON");
        std::fs::write(self.plan.out.join("report.json"), json).expect("written");
        println!("{text}\n{}", self.plan.out.join("report.md").display());
        differences
    }

    fn lastseen(&self) -> &Ran {
        &self.programs[0]
    }

    fn peers(&self) -> &[Ran] {
        &self.programs[1..]
    }

    /// The head of a table with a column for each program, and the rule below it.
    fn head(&self, first: &str, ratios: bool) -> String {
        let names = self.programs.iter().map(|program| program.title.to_owned());
        let ratios = self.peers().iter().filter(|_| ratios).map(|peer| format!("Lastseen to {}", peer.title));
        let columns: Vec<String> = std::iter::once(first.to_owned()).chain(names).chain(ratios).collect();
        format!("{}{}|", row(&columns), "|---".repeat(columns.len()))
    }

    fn million(&self) -> f64 {
        self.filled.records as f64 / 1e6
    }

    fn markdown(&self, differences: &[String]) -> String {
        let mut out =
            String::from("# Lastseen and what would be used instead\n\n## From the same full backlog\n\n");
        let Plan { devices, seconds, seed, partitions, rounds, cpus, .. } = self.plan;
        let _ = writeln!(
            out,
            "{devices} devices, {seconds} s of their time, seed {seed}: {} records ({} control, {} connects, {} \
             disconnects, {} signs of life; {} late, {} twice), {:.0} bytes on the average, hash \
             of their topics, keys and lengths `{:016x}`. {partitions} partitions, processors {cpus}, broker and program on the same ones; {rounds} round(s), one \
             after the other.\n",
            self.filled.records,
            self.filled.tally.control,
            self.filled.tally.connects,
            self.filled.tally.disconnects,
            self.filled.tally.activity,
            self.filled.tally.late,
            self.filled.tally.twice,
            self.filled.bytes as f64 / self.filled.records as f64,
            self.filled.hash,
        );
        let _ = writeln!(
            out,
            "The backlog was sent in {:.1} s, {:.0} records/s; drawing and encoding it took one core {:.1} s of that.\n",
            self.filled.seconds,
            self.filled.records as f64 / self.filled.seconds,
            self.filled.drawing
        );
        let _ = writeln!(out, "{}", self.head("median (range)", true));
        for (name, figure, digits) in FIGURES {
            let of =
                |program: &Ran| median(program.runs.iter().map(|run| figure(run, self.million())).collect());
            let cell = |(middle, low, high): (f64, f64, f64)| match low == high {
                true => format!("{middle:.digits$}"),
                false => format!("{middle:.digits$} ({low:.digits$}–{high:.digits$})"),
            };
            let figures: Vec<(f64, f64, f64)> = self.programs.iter().map(of).collect();
            let ratios = figures[1..].iter().map(|theirs| format!("{:.2}", figures[0].0 / theirs.0));
            let cells = figures.iter().map(|figure| cell(*figure));
            let cells: Vec<String> = std::iter::once(name.to_owned()).chain(cells).chain(ratios).collect();
            out.push_str(&row(&cells));
        }
        let _ = writeln!(out, "\n![rates, processor time and memory](report.svg)\n");
        self.limits(&mut out);
        self.live(&mut out);
        self.topics(&mut out);
        self.verdicts(&mut out, differences);
        let _ = writeln!(out, "## Machine, versions, settings\n");
        for (name, value) in self.machine() {
            let _ = writeln!(out, "* {name}: {value}");
        }
        out
    }

    /// What Lastseen reaches of what is possible.
    fn limits(&self, out: &mut String) {
        let rate = |of: fn(&Measured) -> f64| median(self.lastseen().runs.iter().map(of).collect()).0;
        let (all, half) = (rate(|run| run.rate), rate(|run| run.second_half));
        let Limits { records, copied, folded, decoded, written } = *self.limits;
        let _ = writeln!(
            out,
            "## Against the limits\n\nThe last three on one core, of {records} records of such a fleet, the best of three.\n\n| | \
             records/s | Lastseen's share | of its second half |\n|---|---|---|---|"
        );
        for (name, limit) in [
            ("a bare consumer (rdkafka, poll, read_committed) that only counts", self.bare.rate),
            ("decoded and folded in memory, nothing told", decoded),
            ("decoded events folded in memory", folded),
            ("the same bytes copied", copied),
        ] {
            let _ = writeln!(out, "| {name} | {limit:.0} | {:.4} | {:.4} |", all / limit, half / limit);
        }
        let _ = writeln!(
            out,
            "\nA transactional producer that does nothing else writes {written:.0} records/s, as long as alarms are, in transactions of \
             20,000.\n"
        );
    }

    fn live(&self, out: &mut String) {
        let lives: Vec<&Live> = self.programs.iter().filter_map(|program| program.live.as_ref()).collect();
        if lives.len() < self.programs.len() {
            return;
        }
        let Plan { live, rate_seconds, .. } = self.plan;
        let _ = writeln!(
            out,
            "## Live\n\nA broker for each, {live} devices connected. Events at a rate for {rate_seconds} s, one of a hundred a \
             connect or disconnect: milliseconds from its own time to its entry in the connection log, as a client reads it \
             (read_committed), p50 / p99 / p99.9. A program that has more than a second's records left behind is asked \
             no more.\n\n{}",
            self.head("events/s", false)
        );
        let spread = |spread: &Spread| format!("{} / {} / {}", spread.p50, spread.p99, spread.p999);
        for (index, asked) in self.plan.rates.iter().enumerate() {
            let cell = |live: &&Live| match live.rates.get(index) {
                Some(rate) if rate.is_kept() => spread(&rate.latency),
                Some(rate) => format!("{}; {} left behind", spread(&rate.latency), rate.behind),
                None => "–".to_owned(),
            };
            let cells: Vec<String> =
                std::iter::once(asked.to_string()).chain(lives.iter().map(cell)).collect();
            out.push_str(&row(&cells));
        }
        let _ = writeln!(out, "\n{}", self.head("", false));
        let waiting = lives.first().map_or(0, |live| live.restart.waiting);
        let lines: [(String, LiveFigure); 6] = [
            (
                format!("kill -9, started again with {waiting} records waiting: seconds to caught up"),
                |live| format!("{:.1}", live.restart.seconds),
            ),
            (
                format!("{} deadlines, 10,000 in each second: p50 / p99 / p99.9 to the alarm, ms", live / 10),
                |live| {
                    format!(
                        "{} / {} / {}",
                        live.silence.in_turn.p50, live.silence.in_turn.p99, live.silence.in_turn.p999
                    )
                },
            ),
            (format!("{live} deadlines at once: of them in the same millisecond"), |live| {
                live.silence.at_once.to_string()
            }),
            ("… half of the alarms read after, ms".to_owned(), |live| {
                live.silence.lateness.p50.to_string()
            }),
            ("… 99 of 100".to_owned(), |live| live.silence.lateness.p99.to_string()),
            ("… the last".to_owned(), |live| live.silence.lateness.most.to_string()),
        ];
        for (name, figure) in lines {
            let cells: Vec<String> =
                std::iter::once(name).chain(lives.iter().map(|live| figure(live))).collect();
            out.push_str(&row(&cells));
        }
        out.push('\n');
    }

    fn picture(&self) -> String {
        let bars = |figure: fn(&Measured, f64) -> f64| -> Vec<(&str, f64)> {
            let of = |program: &Ran| {
                median(program.runs.iter().map(|run| figure(run, self.million())).collect()).0
            };
            self.programs.iter().map(|program| (program.title, of(program))).collect()
        };
        let charts = [
            ("records/s", 0),
            ("records/s of the second half", 1),
            ("processor seconds a million records", 4),
            ("peak resident, MiB", 6),
            ("bytes to Kafka a record", 7),
        ];
        let charts = charts.map(|(title, index)| (title, bars(FIGURES[index].1)));
        picture::svg(&charts)
    }

    fn topics(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "## Bytes to Kafka, by topic\n\n| program | topic | bytes a record |\n|---|---|---|"
        );
        for Ran { name, runs, .. } in self.programs {
            let run = &runs[0];
            let coordination = [("offsets and transactions".to_owned(), run.coordination_bytes)];
            for (topic, bytes) in run.kafka_bytes.iter().chain(&coordination).filter(|(_, bytes)| *bytes > 0)
            {
                let _ =
                    writeln!(out, "| {name} | {topic} | {:.2} |", *bytes as f64 / self.filled.records as f64);
            }
        }
        out.push('\n');
    }

    fn verdicts(&self, out: &mut String, differences: &[String]) {
        let _ = writeln!(out, "## What they said\n");
        let verdict = match differences {
            [] => "All said the same, device by device and time by time.".to_owned(),
            _ => format!("They differ: {}.", differences.join("; ")),
        };
        let _ = writeln!(out, "{verdict}\n\n{}", self.head("what", false));
        let kinds: BTreeSet<&String> =
            self.programs.iter().flat_map(|program| program.said[0].kinds.keys()).collect();
        for kind in kinds {
            let of = |program: &Ran| program.said[0].kinds.get(kind).copied().unwrap_or(0).to_string();
            let cells: Vec<String> =
                std::iter::once(kind.clone()).chain(self.programs.iter().map(of)).collect();
            out.push_str(&row(&cells));
        }
        let _ = writeln!(out, "\n| sum of hashes | |\n|---|---|");
        for (name, digest) in &self.lastseen().said[0].digests {
            let _ = writeln!(out, "| {name} | `{:032x}` |", digest.sum);
        }
        out.push('\n');
    }

    /// What it ran on, and with.
    fn machine(&self) -> Vec<(&'static str, String)> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let line = |text: &str, name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or("unknown").trim_start_matches([':', ' ', '\t']).trim().to_owned()
        };
        let version = |pom: &str, tag: &str| {
            let text = read(&root().join(pom).display().to_string());
            let after = text.split(&format!("<{tag}>")).nth(1).and_then(|rest| rest.split('<').next());
            after.unwrap_or("?").to_owned()
        };
        let flink = "benches/peers/flink/pom.xml";
        let peer = match &self.plan.peer {
            Some(file) => format!("peer.properties, then {}", file.file_name().unwrap_or_default().display()),
            None => "peer.properties".to_owned(),
        };
        vec![
            ("processor", line(&read("/proc/cpuinfo"), "model name")),
            ("cores", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
            ("memory", line(&read("/proc/meminfo"), "MemTotal")),
            ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
            ("sources", words(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()))),
            ("compiler", words(Command::new("rustc").arg("--version"))),
            ("librdkafka", rdkafka::util::get_rdkafka_version().1),
            ("Kafka and Kafka Streams", version("deploy/kafka/pom.xml", "kafka.version")),
            (
                "Flink, its connector",
                format!("{}, {}", version(flink, "flink.version"), version(flink, "connector.version")),
            ),
            ("Java", words(Command::new("java").arg("--version"))),
            ("Java options of the peers", self.plan.java.clone()),
            ("settings of the peers", peer),
            (
                "settings of Lastseen",
                format!(
                    "defaults, but worker.count = {}, commit_interval_ms = {}, role = processor",
                    self.plan.workers, self.plan.commit_ms
                ),
            ),
        ]
    }

    fn json(&self, differences: &[String]) -> Value {
        let million = self.million();
        let mut runs = BTreeMap::new();
        let mut said = BTreeMap::new();
        for program in self.programs {
            let figures: Vec<Value> = program.runs.iter().map(|run| figures(run, million)).collect();
            runs.insert(program.name, figures);
            let first = &program.said[0];
            let digests = first.digests.iter();
            let hashes: BTreeMap<&str, String> =
                digests.map(|(name, digest)| (*name, format!("{:032x}", digest.sum))).collect();
            said.insert(program.name, json!({"counts": first.kinds, "hashes": hashes}));
        }
        let live: BTreeMap<&str, Value> = self
            .programs
            .iter()
            .filter_map(|program| Some((program.name, lived(program.live.as_ref()?))))
            .collect();
        let machine: BTreeMap<&str, String> = self.machine().into_iter().collect();
        json!({
            "devices": self.plan.devices,
            "seconds": self.plan.seconds,
            "seed": self.plan.seed,
            "partitions": self.plan.partitions,
            "cpus": self.plan.cpus,
            "records": self.filled.records,
            "bytes": self.filled.bytes,
            "hash": format!("{:016x}", self.filled.hash),
            "start": self.filled.spec.start,
            "filling": {"seconds": self.filled.seconds, "drawing": self.filled.drawing},
            "limits": {
                "records": self.limits.records,
                "copied": self.limits.copied,
                "folded": self.limits.folded,
                "decodedAndFolded": self.limits.decoded,
                "writtenInTransactions": self.limits.written,
            },
            "live": live,
            "bare": {"rate": self.bare.rate, "cpuPerMillion": self.bare.cpu_seconds / million},
            "runs": runs,
            "said": said,
            "differences": differences,
            "machine": machine,
        })
    }
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn figures(run: &Measured, million: f64) -> Value {
    json!({
        "rate": run.rate,
        "secondHalf": run.second_half,
        "seconds": run.seconds,
        "first": run.first,
        "cpuPerMillion": run.cpu_seconds / million,
        "brokerCpuPerMillion": run.broker_cpu_seconds / million,
        "peakKib": run.peak_kib,
        "diskBytes": run.disk_bytes,
        "kafkaBytes": run.kafka_bytes.iter().cloned().collect::<BTreeMap<String, u64>>(),
        "coordinationBytes": run.coordination_bytes,
        "load": run.load,
    })
}

fn lived(live: &Live) -> Value {
    let spread = |spread: &Spread| {
        let Spread { count, p50, p99, p999, most } = spread;
        json!({"count": count, "p50": p50, "p99": p99, "p999": p999, "most": most})
    };
    let rates = live
        .rates
        .iter()
        .map(|rate| json!({"asked": rate.asked, "millis": spread(&rate.latency), "behind": rate.behind}));
    json!({
        "rates": rates.collect::<Vec<Value>>(),
        "restart": {"waiting": live.restart.waiting, "seconds": live.restart.seconds},
        "silence": {"devices": live.silence.devices, "inTurnMillis": spread(&live.silence.in_turn), "atOnce": live.silence.at_once, "latenessMillis": spread(&live.silence.lateness)},
    })
}

/// The first line that a command prints, if it is there.
fn words(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}
