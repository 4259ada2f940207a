//! Replaces what differs from run to run and from machine to machine.

use regex::{Captures, Regex};

/// Numbers that depend on the machine, on the time, or on what a process happened to use.
const NUMBERS: &str = "pid|duration|duration_ms|elapsed_time|monotonic_time|user_cpu_time|system_cpu_time|user_time_us|sys_time_us\
    |max_rss|max_rss_kb|page_faults|page_faults_io|minor_faults|major_faults|voluntary_switches|involuntary_switches\
    |voluntary_ctx_switches|involuntary_ctx_switches|block_input|block_output|block_input_ops|block_output_ops\
    |consumed_cpu|consumed_memory|image_size|image_size_bytes|mtime|instance_max_concurrency|instance_max_pending\
    |rx_bytes|tx_bytes|file_size";

/// Texts that say what this machine has.
const TEXTS: &str = "token_uuid|version|user_ids|machine";

/// The answers of one recording: a UUID has the same number throughout.
pub(crate) struct Normaliser {
    directory: String,
    uuid: Regex,
    time: Regex,
    number: Regex,
    text: Regex,
    notes: Regex,
    memory: Regex,
    reached: Regex,
    seen: Vec<String>,
}

impl Normaliser {
    /// `directory` is where the files are that are imported.
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
            seen: Vec::new(),
        }
    }

    /// The text as it is recorded.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let text = text.replace(&self.directory, "$directory");
        let text = self.time.replace_all(&text, "TIME");
        let text = self.number.replace_all(&text, |found: &Captures<'_>| {
            // Whether it is whole is part of the interface.
            let kind = if found.get(3).is_some() {
                "FRACTION"
            } else {
                "WHOLE"
            };
            format!("\"{}\":{kind}", &found[1])
        });
        let text = self.text.replace_all(&text, "\"$1\":TEXT");
        let text = self.notes.replace_all(&text, "\"notes\":TEXTS");
        // Not every machine can bound memory.
        let text = self.memory.replace_all(&text, "");
        let text = self.reached.replace_all(&text, "reached WHOLE bytes");
        let seen = &mut self.seen;
        let text = self.uuid.replace_all(&text, |found: &Captures<'_>| {
            let uuid = &found[0];
            let known = seen.iter().position(|known| known == uuid);
            let number = known.unwrap_or_else(|| {
                seen.push(uuid.to_owned());
                seen.len() - 1
            });
            format!("UUID{number}")
        });
        text.into_owned()
    }
}
