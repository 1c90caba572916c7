//! What is refused before or after a tokenizer.json is loaded, because it would give wrong ids without
//! a word, or because the parser's own error would not say what is wrong.

use std::fmt;

use hf::Tokenizer;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::Deserialize;
use serde_json::Value;

use crate::guard;

/// The largest tokenizer.json known has 33 MB.
pub const FILE_MAX: usize = 128 << 20;
/// Real files nest ten deep; each level costs stack while parsing.
const DEPTH_MAX: usize = 48;
/// Token ids beyond this are nonsense; the table of pieces is indexed by id.
const ID_MAX: u64 = (1 << 24) - 1;
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: Vocab,
}

/// What the file says and loading must agree with.
pub struct Claims {
    /// The highest id plus one.
    pub size: u32,
    added: Vec<Added>,
}

/// Checks the bytes of a tokenizer.json.
pub fn file(json: &[u8]) -> Result<Claims, String> {
    depth(json)?;
    let file: File = serde_json::from_slice(json).map_err(|e| guard::one_line(&e.to_string()))?;
    match file.model.kind.as_deref() {
        None | Some("BPE" | "Unigram" | "WordPiece" | "WordLevel") => {}
        Some(other) => {
            return Err(guard::one_line(&format!(
                "model type {other:?} is unknown; BPE, Unigram, WordPiece and WordLevel are known"
            )))
        }
    }
    let vocab = file.model.vocab;
    if vocab.size == 0 {
        return Err("the vocabulary is empty".into());
    }
    if let Some(id) = vocab.duplicate {
        return Err(format!("two tokens of the vocabulary have the id {id}"));
    }
    let mut size = vocab.size;
    for token in &file.added_tokens {
        if token.id > ID_MAX {
            return Err(guard::one_line(&format!(
                "added token {:?} has the id {}, the highest allowed is {ID_MAX}", token.content, token.id
            )));
        }
        size = size.max(token.id as u32 + 1);
    }
    patterns(&file.normalizer)?;
    patterns(&file.pre_tokenizer)?;
    patterns(&file.decoder)?;
    Ok(Claims { size, added: file.added_tokens })
}

/// Checks what can only be seen after loading.
pub fn loaded(tokenizer: &Tokenizer, claims: &Claims) -> Result<(), String> {
    for token in &claims.added {
        let got = tokenizer.token_to_id(&token.content);
        if got.is_some_and(|id| u64::from(id) != token.id) {
            return Err(guard::one_line(&format!(
                "added token {:?} has the id {} in the list and {} in the vocabulary",
                token.content, token.id, got.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// The nesting of JSON, without parsing it: parsers recurse, and a stack overflow cannot be caught.
fn depth(json: &[u8]) -> Result<(), String> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for &byte in json {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!("the JSON nests deeper than {DEPTH_MAX} levels"));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// The regular expressions below `part`: they must compile, and not be of the kind whose backtracking
/// explodes. The engine would end that after a million steps, with a text that is cut up wrongly.
fn patterns(part: &Value) -> Result<(), String> {
    match part {
        Value::Array(items) => items.iter().try_for_each(patterns),
        Value::Object(fields) => {
            if let Some(pattern) = fields.get("Regex").and_then(Value::as_str) {
                regex(pattern).map_err(|e| guard::one_line(&format!("regular expression {pattern:?}: {e}")))?;
            }
            fields.values().try_for_each(patterns)
        }
        _ => Ok(()),
    }
}

fn regex(pattern: &str) -> Result<(), String> {
    let regex = fancy_regex::Regex::new(pattern).map_err(|e| e.to_string())?;
    for run in ["a", "A", "0", " ", "_", "é", "ab", "a "] {
        let probe = run.repeat(64) + "!";
        for found in regex.find_iter(&probe) {
            found.map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// The ids of a vocabulary, seen once in passing: nothing of it is stored.
#[derive(Default)]
struct Vocab {
    size: u32,
    duplicate: Option<u32>,
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = Vocab;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a vocabulary: a map of token to id, or a list of token and score")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut seen: Vec<u64> = Vec::new();
        let mut vocab = Vocab::default();
        while map.next_key_seed(Skip)?.is_some() {
            let id: u64 = map.next_value()?;
            if id > ID_MAX {
                return Err(de::Error::custom(format!("token id {id} is above {ID_MAX}")));
            }
            let (word, bit) = (id as usize / 64, 1u64 << (id % 64));
            if word >= seen.len() {
                seen.resize(word + 1, 0);
            }
            if seen[word] & bit != 0 {
                vocab.duplicate = Some(id as u32);
            }
            seen[word] |= bit;
            vocab.size = vocab.size.max(id as u32 + 1);
        }
        Ok(vocab)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab, A::Error> {
        let mut size = 0u64;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            size += 1;
        }
        if size > ID_MAX {
            return Err(de::Error::custom(format!("the vocabulary has {size} entries")));
        }
        Ok(Vocab { size: size as u32, duplicate: None })
    }
}

/// Reads a key without copying it.
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = IgnoredAny;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<IgnoredAny, D::Error> {
        deserializer.deserialize_any(IgnoredAny)
    }
}
