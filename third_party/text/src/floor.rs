//! How many ids a text has at least, without encoding it.
//!
//! A megabyte takes half a second and some hundred megabytes to encode, and a prompt that does not fit a context mostly exceeds
//! it by far. Counted are the ASCII characters from `!` to `~` that another ASCII character or the end of the text follows. In a
//! file of the usual kind, which `Floor::new` recognises, each of them comes to the model as it is: NFC composes a letter only
//! with something behind it that is not ASCII, and the other steps replace blanks, add, or cut. The model has a token for each, so
//! none is dropped or fused with its neighbours as unknown. So each is part of a token, and no token is longer than the longest.
//! The white space that an added token swallows is not counted.

use serde_json::Value;

/// What is known of a file of the usual kind.
pub struct Floor {
    /// Characters of the longest token.
    longest: usize,
}

impl Floor {
    /// None if a step of the pipeline is not among those that are known to lose nothing, or if a character has no token.
    pub fn new<'a>(
        normalizer: &Value,
        pre_tokenizer: &Value,
        has: impl Fn(&str) -> bool,
        tokens: impl Iterator<Item = &'a str>,
    ) -> Option<Floor> {
        let usual = all(normalizer, "normalizers", &keeps_normal) && all(pre_tokenizer, "pretokenizers", &keeps_cut);
        let whole = ('!'..='~').all(|c| has(c.encode_utf8(&mut [0; 4])));
        let longest = tokens.map(|t| t.chars().count()).max()?;
        (usual && whole).then_some(Floor { longest: longest.max(1) })
    }

    pub fn ids(&self, text: &str) -> usize {
        let bytes = text.as_bytes();
        let next = bytes.iter().skip(1).chain([&b' ']);
        let counted = bytes.iter().zip(next).filter(|(b, next)| b.is_ascii_graphic() && next.is_ascii()).count();
        counted.div_ceil(self.longest)
    }
}

/// Whether a step is null, a sequence of steps, or one, and all of them pass.
fn all(step: &Value, list: &str, passes: &impl Fn(&str, &Value) -> bool) -> bool {
    match step["type"].as_str() {
        None => step.is_null(),
        Some("Sequence") => step[list].as_array().is_some_and(|steps| steps.iter().all(|s| all(s, list, passes))),
        Some(kind) => passes(kind, step),
    }
}

fn keeps_normal(kind: &str, step: &Value) -> bool {
    let foreign =
        |name: &str| step[name].as_str().is_some_and(|text| !text.is_empty() && !text.contains(|c: char| c.is_ascii()));
    match kind {
        "NFC" => true,
        "Prepend" => foreign("prepend"),
        "Replace" => step["pattern"]["String"] == " " && foreign("content"),
        _ => false,
    }
}

fn keeps_cut(kind: &str, step: &Value) -> bool {
    match kind {
        "ByteLevel" | "Digits" | "Metaspace" => true,
        "Split" => matches!(
            step["behavior"].as_str(),
            Some("Isolated" | "MergedWithPrevious" | "MergedWithNext" | "Contiguous")
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;
    use serde_json::json;

    fn floor(normalizer: Value, pre_tokenizer: Value) -> Option<Floor> {
        Floor::new(&normalizer, &pre_tokenizer, |_| true, ["a", "äöü"].into_iter())
    }

    #[test]
    fn counts_what_cannot_vanish() {
        let floor = floor(Value::Null, Value::Null).unwrap();
        let cases = [
            ("", 0),
            ("a", 1),
            ("abc", 1),
            ("abcd", 2),
            ("a b c d", 2),
            (" \n\u{7f}", 0),
            ("e\u{301}", 0),
            ("äöüäöü", 0),
            ("<\u{fdd0}|a>", 1),
        ];
        for (text, ids) in cases {
            assert_eq!(floor.ids(text), ids, "{text:?}");
        }
    }

    /// Whatever a text is made of, it has as many ids: a file with NFC and one that fuses what it does not know.
    #[test]
    fn no_text_has_fewer_ids() {
        let pieces = [
            "a",
            "e",
            "=",
            "====",
            "~",
            "Z9",
            " ",
            "  ",
            "\n",
            "\t",
            "\u{301}",
            "é",
            "\u{338}",
            "▁",
            "ß",
            "家",
            "🦙",
            "\0",
            "<",
            "<|im_start|>",
            "the ",
        ];
        let mut vocab: serde_json::Map<String, Value> = ('!'..='~').map(|c| (c.to_string(), json!(c as u32))).collect();
        for (i, token) in ["<unk>", "▁", "ee", "▁▁"].into_iter().enumerate() {
            vocab.insert(token.into(), json!(i));
        }
        let blanks = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let normal = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, blanks]});
        let model =
            json!({"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "vocab": vocab, "merges": ["e e", "▁ ▁"]});
        let swallows = json!({"id": 98, "content": "<|im_start|>", "single_word": false, "lstrip": true, "rstrip": true,
            "normalized": false, "special": true});
        let fuses = json!({"added_tokens": [swallows], "normalizer": normal, "model": model}).to_string();
        for json in [include_bytes!("../../../engine/tiny/model/tokenizer.json").as_slice(), fuses.as_bytes()] {
            let file::Read { tokenizer, floor, .. } = file::read(json).unwrap();
            let floor = floor.expect("a file of the usual kind");
            let mut random = 1u64;
            for _ in 0..20_000 {
                let mut text = String::new();
                for _ in 0..random % 12 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    text.push_str(pieces[(random >> 33) as usize % pieces.len()]);
                }
                random = random.wrapping_add(0x9e3779b97f4a7c15);
                let (least, ids) = (floor.ids(&text), tokenizer.encode_fast(text.as_str(), false).unwrap().len());
                assert!(least <= ids, "{text:?}: at least {least} were promised, there are {ids}");
            }
        }
    }

    #[test]
    fn knows_what_may_lose_something() {
        let split =
            |behavior| json!({"type": "Split", "pattern": {"Regex": "a"}, "behavior": behavior, "invert": false});
        let replace = |from, to| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let sequence = |list: &str, steps: &[Value]| json!({"type": "Sequence", list: steps});
        let kind = |name| json!({"type": name});
        for (normalizer, pre_tokenizer, known) in [
            (kind("NFC"), sequence("pretokenizers", &[split("Isolated"), kind("ByteLevel")]), true),
            (
                sequence("normalizers", &[json!({"type": "Prepend", "prepend": "▁"}), replace(" ", "▁")]),
                Value::Null,
                true,
            ),
            (Value::Null, kind("Metaspace"), true),
            (Value::Null, split("Removed"), false),
            (Value::Null, sequence("pretokenizers", &[kind("ByteLevel"), split("Removed")]), false),
            (Value::Null, kind("CharDelimiterSplit"), false),
            (Value::Null, kind("Oracle"), false),
            (Value::Null, json!("ByteLevel"), false),
            (replace("a", "▁"), Value::Null, false),
            (replace(" ", "a"), Value::Null, false),
            (replace(" ", ""), Value::Null, false),
            (kind("NFKC"), Value::Null, false),
            (kind("Strip"), Value::Null, false),
        ] {
            assert_eq!(
                floor(normalizer.clone(), pre_tokenizer.clone()).is_some(),
                known,
                "{normalizer} {pre_tokenizer}"
            );
        }
        assert!(Floor::new(&Value::Null, &Value::Null, |c| c != "~", ["a"].into_iter()).is_none());
    }
}
