//! Text to ids.

use std::sync::Arc;
use std::time::Duration;

use hf::{Model, OffsetType, PreTokenizer};

use crate::cell::{self, Allowance};
use crate::handle::Text;
use crate::mark;

/// Longer texts are refused: a prompt of this size fits no model, and tokenizing needs fifty times it.
pub const TEXT_MAX: usize = 8 << 20;

/// What encoding a text of some bytes may take, twenty times what it takes with real tokenizers.
pub fn allowance(bytes: usize) -> Allowance {
    Allowance {
        time: Duration::from_secs(2) + Duration::from_micros(10) * bytes as u32,
        memory: (64 << 20) + 512 * bytes,
    }
}

impl Text {
    /// Encodes `text`. With `plain`, control tokens in it are plain text. `mark` is a character whose
    /// occurrences break control tokens and do not count otherwise.
    pub fn encode(
        self: &Arc<Text>,
        text: String,
        special: bool,
        plain: bool,
        mark: Option<char>,
    ) -> Result<Vec<u32>, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("the text has {} bytes, at most {TEXT_MAX} are encoded", text.len()));
        }
        let this = Arc::clone(self);
        cell::run(allowance(text.len()), move || this.encode_here(&text, special, plain, mark))?
    }

    fn encode_here(&self, text: &str, special: bool, plain: bool, mark: Option<char>) -> Result<Vec<u32>, String> {
        if plain {
            let mark = mark::choose(&[text]).ok_or("the text holds all of U+FDD0 to U+FDEF")?;
            if let Some(marked) = self.controls.mark(text, mark) {
                return self.encode_marked(&marked, special, mark);
            }
        } else if let Some(mark) = mark.filter(|&m| text.contains(m)) {
            return self.encode_marked(text, special, mark);
        }
        let encoding = self.tokenizer.encode_fast(text, special).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The crate's own pipeline with one step more: the marks leave after added tokens were found.
    fn encode_marked(&self, text: &str, special: bool, mark: char) -> Result<Vec<u32>, String> {
        let tok = &self.tokenizer;
        let fail = |e: hf::Error| e.to_string();
        let mut parts = tok.get_added_vocabulary().extract_and_normalize(tok.get_normalizer(), text);
        parts
            .normalize(|part| {
                part.filter(|c| c != mark);
                Ok(())
            })
            .map_err(fail)?;
        if let Some(pre) = tok.get_pre_tokenizer() {
            pre.pre_tokenize(&mut parts).map_err(fail)?;
        }
        parts.tokenize(|part| tok.get_model().tokenize(part.get())).map_err(fail)?;
        let encoding = parts.into_encoding(None, 0, OffsetType::None).map_err(fail)?;
        let encoding = tok.post_process(encoding, None, special).map_err(fail)?;
        Ok(encoding.get_ids().to_vec())
    }
}
