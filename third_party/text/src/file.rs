//! A tokenizer.json: read, checked and built.
//!
//! The crate's own reader copies the vocabulary three times over while it finds out what kind of model
//! it has before it, which for 150 thousand tokens is half of the time and most of the memory of
//! loading. BPE, which nearly all models use, is therefore read here; the other kinds are left to it.
//! What would give wrong ids without a word is refused.

use std::fmt;

use ahash::AHashMap;
use hf::models::bpe::BPE;
use hf::{AddedToken, Tokenizer};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::Deserialize;
use serde_json::Value;

use crate::floor::Floor;
use crate::guard;

/// The largest tokenizer.json known has 33 MB.
pub const FILE_MAX: usize = 128 << 20;
/// Real files nest ten deep; each level costs stack while parsing.
const DEPTH_MAX: usize = 48;
/// Token ids beyond this are nonsense; the table of pieces is indexed by id.
const ID_MAX: u64 = (1 << 24) - 1;

#[derive(Deserialize)]
struct File {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: Vocab,
    #[serde(default)]
    merges: Vec<Merge>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    fuse_unk: Option<bool>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

/// What a tokenizer.json gives.
pub struct Read {
    pub tokenizer: Tokenizer,
    /// The highest id plus one.
    pub size: u32,
    pub floor: Option<Floor>,
}

pub fn read(json: &[u8]) -> Result<Read, String> {
    depth(json)?;
    let mut file: File = serde_json::from_slice(json).map_err(|e| guard::one_line(&e.to_string()))?;
    file.check()?;
    let size = file.size()?;
    let floor = file.floor();
    let added = std::mem::take(&mut file.added_tokens);
    let mut tokenizer = match file.model.kind.as_deref() {
        Some("BPE") => file.build(&added)?,
        _ => Tokenizer::from_bytes(json).map_err(|e| guard::one_line(&e.to_string()))?,
    };
    for Added { id, token } in &added {
        let got = tokenizer.token_to_id(&token.content);
        if got.is_some_and(|got| u64::from(got) != *id) {
            return Err(guard::one_line(&format!(
                "added token {:?} has the id {id} in the list and {} in the vocabulary",
                token.content,
                got.unwrap_or_default()
            )));
        }
    }
    // A file may ask for padding to any length, or for silent truncation of the prompt.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
    Ok(Read { tokenizer, size, floor })
}

impl File {
    fn check(&self) -> Result<(), String> {
        if self.version.as_deref().is_some_and(|v| v != "1.0") {
            return Err(guard::one_line(&format!("version {:?} is unknown; 1.0 is known", self.version)));
        }
        match self.model.kind.as_deref() {
            None | Some("BPE" | "Unigram" | "WordPiece" | "WordLevel") => {}
            Some(other) => {
                return Err(guard::one_line(&format!(
                    "model type {other:?} is unknown; BPE, Unigram, WordPiece and WordLevel are known"
                )))
            }
        }
        if let Some(id) = self.model.vocab.duplicate {
            return Err(format!("two tokens of the vocabulary have the id {id}"));
        }
        [&self.normalizer, &self.pre_tokenizer, &self.decoder].into_iter().try_for_each(patterns)
    }

    /// The highest id plus one.
    fn size(&self) -> Result<u32, String> {
        let mut size = self.model.vocab.size;
        if size == 0 {
            return Err("the vocabulary is empty".into());
        }
        for Added { id, token } in &self.added_tokens {
            if *id > ID_MAX {
                return Err(guard::one_line(&format!(
                    "added token {:?} has the id {id}, the highest allowed is {ID_MAX}",
                    token.content
                )));
            }
            size = size.max(*id as u32 + 1);
        }
        Ok(size)
    }

    /// Only a BPE model that marks no place in a word has a token for a character wherever that stands.
    fn floor(&self) -> Option<Floor> {
        let model = &self.model;
        let marks = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
        if model.kind.as_deref() != Some("BPE") || marks.into_iter().flatten().any(|m| !m.is_empty()) {
            return None;
        }
        let added: Vec<_> = self.added_tokens.iter().map(|a| &a.token).collect();
        let tokens = model.vocab.ids.keys().map(String::as_str);
        Floor::new(&self.normalizer, &self.pre_tokenizer, |token| model.vocab.ids.contains_key(token), tokens, &added)
    }

    /// A tokenizer with a BPE model. Dropout, which is for training, is left out.
    fn build(self, added: &[Added]) -> Result<Tokenizer, String> {
        let model = self.model;
        let merges = model.merges.into_iter().filter_map(|m| m.0).collect();
        let mut bpe = BPE::builder()
            .vocab_and_merges(model.vocab.ids, merges)
            .fuse_unk(model.fuse_unk.unwrap_or(false))
            .byte_fallback(model.byte_fallback.unwrap_or(false))
            .ignore_merges(model.ignore_merges.unwrap_or(false));
        if let Some(token) = model.unk_token {
            bpe = bpe.unk_token(token);
        }
        if let Some(prefix) = model.continuing_subword_prefix {
            bpe = bpe.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = model.end_of_word_suffix {
            bpe = bpe.end_of_word_suffix(suffix);
        }
        let mut tokenizer = Tokenizer::new(bpe.build().map_err(|e| guard::one_line(&e.to_string()))?);
        tokenizer.with_normalizer(part::<hf::NormalizerWrapper>("normalizer", self.normalizer)?);
        tokenizer.with_pre_tokenizer(part::<hf::PreTokenizerWrapper>("pre_tokenizer", self.pre_tokenizer)?);
        tokenizer.with_post_processor(part::<hf::PostProcessorWrapper>("post_processor", self.post_processor)?);
        tokenizer.with_decoder(part::<hf::DecoderWrapper>("decoder", self.decoder)?);
        let added: Vec<AddedToken> = added.iter().map(|a| a.token.clone()).collect();
        tokenizer.add_tokens(&added);
        Ok(tokenizer)
    }
}

/// A part of the pipeline, none if it is null.
fn part<T: de::DeserializeOwned>(name: &str, value: Value) -> Result<Option<T>, String> {
    serde_json::from_value(value).map_err(|e| guard::one_line(&format!("{name}: {e}")))
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

/// The tokens and their ids; of a list of tokens and scores, only their number.
#[derive(Default)]
struct Vocab {
    ids: AHashMap<String, u32>,
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
        while let Some((token, id)) = map.next_entry::<String, u64>()? {
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
            vocab.ids.insert(token, id as u32);
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
        Ok(Vocab { size: size as u32, ..Vocab::default() })
    }
}

/// Two tokens to be merged, as a pair or, in older files, as one text with a space between them. None
/// is the line that names the version.
struct Merge(Option<(String, String)>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a merge: two tokens")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Merge, E> {
        if text.starts_with("#version") {
            return Ok(Merge(None));
        }
        match text.split_once(' ') {
            Some((a, b)) if !b.contains(' ') => Ok(Merge(Some((a.into(), b.into())))),
            _ => Err(E::custom(format!("the merge {text:?} is not two tokens"))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
        match (seq.next_element()?, seq.next_element()?, seq.next_element::<IgnoredAny>()?) {
            (Some(a), Some(b), None) => Ok(Merge(Some((a, b)))),
            _ => Err(de::Error::custom("a merge is not two tokens")),
        }
    }
}
