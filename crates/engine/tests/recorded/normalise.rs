//! Replaces the parts of answers that differ between runs and machines.

use regex::{Captures, Regex};

/// Fields with numbers that depend on the machine, the time or the resources of a process.
const NUMBERS: &str = "pid|duration|duration_ms|elapsed_time|monotonic_time|user_cpu_time|system_cpu_time|user_time_us|sys_time_us\
    |max_rss|max_rss_kb|page_faults|page_faults_io|minor_faults|major_faults|voluntary_switches|involuntary_switches\
    |voluntary_ctx_switches|involuntary_ctx_switches|block_input|block_output|block_input_ops|block_output_ops\
    |consumed_cpu|consumed_memory|image_size|image_size_bytes|mtime|instance_max_concurrency|instance_max_pending\
    |rx_bytes|tx_bytes|file_size|changed_bytes|changed_files";

/// Fields with texts that depend on the machine.
const TEXTS: &str = "token_uuid|version|user_ids|machine";

/// Normalises the answers of one recording. Each UUID gets a number, which is the same everywhere.
pub(crate) struct Normalizer {
    directory: String,
    uuid: Regex,
    time: Regex,
    number: Regex,
    text: Regex,
    notes: Regex,
    memory: Regex,
    reached: Regex,
    live: Regex,
    uuids: Vec<String>,
}

impl Normalizer {
    /// Normalises one recording, whose files to import are in `directory`.
    pub(crate) fn new(directory: &str) -> Self {
        let regex = |text: &str| Regex::new(text).expect("a regular expression");
        Self {
            directory: directory.to_owned(),
            uuid: regex(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
            time: regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
            number: regex(&format!(r#""({NUMBERS})":(-?\d+)([.eE][-+.\deE]*)?"#)),
            text: regex(&format!(r#""({TEXTS})":"[^"]*""#)),
            notes: regex(r#""notes":\[[^\]]*\]"#),
            memory: regex(r#","instance_memory_bytes":\d+"#),
            reached: regex(r"reached \d+ bytes"),
            live: regex(r#","x-live":\{[^\]]*\][^}]*\}"#),
            uuids: Vec::new(),
        }
    }

    /// The normalised text.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let text = text.replace(&self.directory, "$directory");
        let text = self.time.replace_all(&text, "TIME");
        let text = self.number.replace_all(&text, |matched: &Captures<'_>| {
            // Whether a number is an integer is part of the interface.
            let kind = if matched.get(3).is_some() {
                "FRACTION"
            } else {
                "WHOLE"
            };
            format!("\"{}\":{kind}", &matched[1])
        });
        let text = self.text.replace_all(&text, "\"$1\":TEXT");
        let text = self.notes.replace_all(&text, "\"notes\":TEXTS");
        // Only some machines can limit memory.
        let text = self.memory.replace_all(&text, "");
        let text = self.reached.replace_all(&text, "reached WHOLE bytes");
        // The present state of a run.
        let text = self.live.replace_all(&text, "");
        let uuids = &mut self.uuids;
        let text = self.uuid.replace_all(&text, |matched: &Captures<'_>| {
            let uuid = &matched[0];
            let known = uuids.iter().position(|known| known == uuid);
            let number = known.unwrap_or_else(|| {
                uuids.push(uuid.to_owned());
                uuids.len() - 1
            });
            format!("UUID{number}")
        });
        text.into_owned()
    }
}
