//! How many ids a text has at least, without encoding it.
//!
//! A megabyte takes half a second and some hundred megabytes to encode, and a prompt that does not fit a context mostly exceeds
//! it by far. Counted are the ASCII characters that another ASCII character or the end of the text follows. In a file of the usual
//! kind, which `Floor::new` recognises, each of them comes to the model as it is, or as the one character that is written for it:
//! NFC composes a character only with something behind it that is not ASCII, and the other steps replace blanks, add, or cut. The
//! model has a token for each, so none is dropped or fused with its neighbours as unknown. So each is part of a token, and no token
//! is longer than the longest. White space is not counted where an added token may swallow it.

use hf::AddedToken;
use serde_json::Value;

/// What is known of a file of the usual kind.
pub struct Floor {
    /// Characters of the longest token.
    longest: usize,
    /// The ASCII characters that cannot vanish.
    counts: [bool; 128],
}

impl Floor {
    /// None if a step of the pipeline is not among those that are known to lose nothing, or if a character from `!` to `~` has no token.
    pub fn new<'a>(
        normalizer: &Value,
        pre_tokenizer: &Value,
        has: impl Fn(&str) -> bool,
        tokens: impl Iterator<Item = &'a str>,
        added: &[&'a AddedToken],
    ) -> Option<Floor> {
        let normal = steps(normalizer, "normalizers")?;
        let cut = steps(pre_tokenizer, "pretokenizers")?;
        if !normal.iter().all(|s| keeps_normal(s)) || !cut.iter().all(|s| keeps_cut(s)) {
            return None;
        }
        let swallowed = added.iter().any(|a| a.lstrip || a.rstrip);
        let counts = std::array::from_fn(|i| {
            let c = i as u8 as char;
            let text = written(c, &normal, &cut);
            !(swallowed && c.is_whitespace())
                && text.is_some_and(|t| t.chars().all(|c| has(c.encode_utf8(&mut [0; 4]))))
        });
        let longest = tokens.chain(added.iter().map(|a| a.content.as_str())).map(|t| t.chars().count()).max()?;
        ('!'..='~').all(|c| counts[c as usize]).then_some(Floor { longest: longest.max(1), counts })
    }

    pub fn ids(&self, text: &str) -> usize {
        let bytes = text.as_bytes();
        let next = bytes.iter().skip(1).chain([&b' ']);
        let counted =
            bytes.iter().zip(next).filter(|(b, next)| b.is_ascii() && next.is_ascii() && self.counts[**b as usize]);
        counted.count().div_ceil(self.longest)
    }
}

/// The steps of a part of the pipeline: none, one, or those of a sequence. None if it is something else.
fn steps<'a>(part: &'a Value, list: &str) -> Option<Vec<&'a Value>> {
    match part["type"].as_str() {
        None => part.is_null().then(Vec::new),
        Some("Sequence") => {
            part[list].as_array()?.iter().map(|s| steps(s, list)).collect::<Option<Vec<_>>>().map(|l| l.concat())
        }
        Some(_) => Some(vec![part]),
    }
}

/// What is written for an ASCII character before the model reads it. None if two steps write something for it, or if blanks are put
/// before added tokens too, which then are longer than they look.
fn written(c: char, normal: &[&Value], cut: &[&Value]) -> Option<String> {
    let writes = |s: &&&Value| c == ' ' && matches!(s["type"].as_str(), Some("Replace" | "Metaspace" | "Prepend"));
    let bytes = cut.iter().any(|s| s["type"] == "ByteLevel");
    match normal.iter().chain(cut).filter(writes).collect::<Vec<_>>()[..] {
        [] if bytes => Some(byte_level(c).into()),
        [] => Some(c.into()),
        [step] if !bytes => Some(step["content"].as_str().or(step["replacement"].as_str())?.into()),
        _ => None,
    }
}

/// The character by which byte-level vocabularies write an ASCII one: those that cannot be seen come behind all bytes, in order.
fn byte_level(c: char) -> char {
    match c as u32 {
        code @ 0..=0x20 => char::from_u32(0x100 + code).unwrap_or(c),
        0x7f => '\u{121}',
        _ => c,
    }
}

fn keeps_normal(step: &Value) -> bool {
    let foreign =
        |name: &str| step[name].as_str().is_some_and(|text| !text.is_empty() && !text.contains(|c: char| c.is_ascii()));
    match step["type"].as_str() {
        Some("NFC") => true,
        Some("Prepend") => foreign("prepend"),
        Some("Replace") => step["pattern"]["String"] == " " && foreign("content"),
        _ => false,
    }
}

fn keeps_cut(step: &Value) -> bool {
    match step["type"].as_str() {
        Some("ByteLevel" | "Digits" | "Metaspace") => true,
        Some("Split") => matches!(
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
        Floor::new(&normalizer, &pre_tokenizer, |_| true, ["a", "äöü"].into_iter(), &[])
    }

    #[test]
    fn counts_what_cannot_vanish() {
        let floor = floor(Value::Null, Value::Null).unwrap();
        let cases = [
            ("", 0),
            ("a", 1),
            ("abc", 1),
            ("abcd", 2),
            ("a b c d", 3),
            (" \n\u{7f}", 1),
            ("    ", 2),
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
        let fuses = |added: Value, first: Value| {
            let blanks = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
            let normal = json!({"type": "Sequence", "normalizers": [first, blanks]});
            let model = json!({"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "vocab": vocab, "merges": ["e e", "▁ ▁"]});
            json!({"added_tokens": [added], "normalizer": normal, "model": model}).to_string()
        };
        let token = |content: &str, strips: bool, normalized: bool| {
            json!({"id": 98, "content": content, "single_word": false, "lstrip": strips, "rstrip": strips,
                "normalized": normalized, "special": true})
        };
        let prepends = json!({"type": "Prepend", "prepend": "▁"});
        for json in [
            include_str!("../../../engine/tiny/model/tokenizer.json"),
            &fuses(token("<|im_start|>", true, false), json!({"type": "NFC"})),
            &fuses(token("<|im_start|>", false, false), json!({"type": "NFC"})),
            &fuses(token("==", false, true), prepends),
        ] {
            let json = json.as_bytes();
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
        assert!(Floor::new(&Value::Null, &Value::Null, |c| c != "~", ["a"].into_iter(), &[]).is_none());
    }

    /// Blanks and what cannot be seen count where they are sure to be part of a token, under whatever name.
    #[test]
    fn counts_blanks_that_stay() {
        let kind = |name| json!({"type": name});
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let prepend = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]});
        let metaspace = json!({"type": "Metaspace", "replacement": "▁"});
        let strips = AddedToken::from("<mask>", true).rstrip(true);
        let plain = AddedToken::from("<mask>", true);
        for (normalizer, pre_tokenizer, others, added, counted) in [
            (Value::Null, kind("ByteLevel"), "Ġ", &plain, " "),
            (Value::Null, kind("ByteLevel"), "ĠĊĉġ", &plain, " \n\t\u{7f}"),
            (Value::Null, kind("ByteLevel"), "ĠĊĉġ", &strips, "\u{7f}"),
            (Value::Null, kind("ByteLevel"), " \n", &plain, ""),
            (Value::Null, Value::Null, " \n▁", &plain, " \n"),
            (replace.clone(), Value::Null, "▁", &plain, " "),
            (replace.clone(), Value::Null, " ", &plain, ""),
            (replace.clone(), kind("ByteLevel"), "Ġ▁", &plain, ""),
            (Value::Null, metaspace.clone(), "▁", &plain, " "),
            (replace, metaspace, "▁", &plain, ""),
            (prepend, Value::Null, "▁", &plain, ""),
        ] {
            let has = |c: &str| c.chars().all(|c| c.is_ascii_graphic() || others.contains(c));
            let floor = Floor::new(&normalizer, &pre_tokenizer, has, ["a"].into_iter(), &[added]).unwrap();
            let got: String =
                ('\0'..='\u{7f}').filter(|c| !c.is_ascii_graphic() && floor.counts[*c as usize]).collect();
            let mut want: Vec<char> = counted.chars().collect();
            want.sort();
            assert_eq!(got, String::from_iter(want), "{normalizer} {pre_tokenizer} with {others:?}");
        }
    }
}
