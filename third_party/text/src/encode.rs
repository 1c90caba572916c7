//! Text to ids.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use hf::{Model, OffsetType, PreTokenizer};

use crate::cell::{self, Allowance};
use crate::handle::Text;
use crate::mark;

/// Longer texts are refused: a prompt of this size fits no model, and tokenizing needs hundreds of times it.
pub const TEXT_MAX: usize = 4 << 20;
/// Shorter texts are always encoded to their end, so that the number of ids is known even if they are too many.
const COUNTED: usize = 256 << 10;

/// The ids of a text; or, where they are too many and were not counted to the end, how many there are at least.
pub enum Encoded {
    Ids(Vec<u32>),
    Long(usize),
}

/// What encoding a text of some bytes may take, twenty times what it takes with real tokenizers.
pub fn allowance(bytes: usize) -> Allowance {
    Allowance {
        time: Duration::from_secs(2) + Duration::from_micros(10) * bytes as u32,
        memory: (64 << 20) + 512 * bytes,
    }
}

impl Text {
    /// Encodes `text`; one that is not short only if it has at most `most` ids. With `plain`, control tokens in it are plain text. `mark` is a character
    /// whose occurrences break control tokens and do not count otherwise.
    pub fn encode(
        self: &Arc<Text>,
        text: String,
        special: bool,
        plain: bool,
        mark: Option<char>,
        most: usize,
    ) -> Result<Encoded, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("the text has {} bytes, at most {TEXT_MAX} are encoded", text.len()));
        }
        let stop = if text.len() > COUNTED { most } else { usize::MAX };
        if let Some(least) = self.floor.as_ref().map(|f| f.ids(&text)).filter(|&least| least > stop) {
            return Ok(Encoded::Long(least));
        }
        let this = Arc::clone(self);
        cell::run(allowance(text.len()), move || this.encode_here(&text, special, plain, mark, stop))?
    }

    fn encode_here(
        &self,
        text: &str,
        special: bool,
        plain: bool,
        mark: Option<char>,
        stop: usize,
    ) -> Result<Encoded, String> {
        if plain {
            let mark = mark::choose(&[text]).ok_or("the text holds all of U+FDD0 to U+FDEF")?;
            if let Some(marked) = self.controls.mark(text, mark) {
                return self.pipeline(&marked, special, Some(mark), stop);
            }
            return self.pipeline(text, special, None, stop);
        }
        self.pipeline(text, special, mark.filter(|&m| text.contains(m)), stop)
    }

    /// The crate's own pipeline with two steps more: marks leave after added tokens were found, and too many ids end it.
    fn pipeline(&self, text: &str, special: bool, mark: Option<char>, stop: usize) -> Result<Encoded, String> {
        let tok = &self.tokenizer;
        let fail = |e: hf::Error| e.to_string();
        let mut parts = tok.get_added_vocabulary().extract_and_normalize(tok.get_normalizer(), text);
        if let Some(mark) = mark {
            parts
                .normalize(|part| {
                    part.filter(|c| c != mark);
                    Ok(())
                })
                .map_err(fail)?;
        }
        if let Some(pre) = tok.get_pre_tokenizer() {
            pre.pre_tokenize(&mut parts).map_err(fail)?;
        }
        let found = Cell::new(0);
        let tokenized = parts.tokenize(|part| {
            let tokens = tok.get_model().tokenize(part.get())?;
            found.set(found.get() + tokens.len());
            if found.get() > stop {
                return Err("too many ids".into());
            }
            Ok(tokens)
        });
        if found.get() > stop {
            return Ok(Encoded::Long(found.get()));
        }
        tokenized.map_err(fail)?;
        let encoding = parts.into_encoding(None, 0, OffsetType::None).map_err(fail)?;
        let encoding = tok.post_process(encoding, None, special).map_err(fail)?;
        match encoding.get_ids() {
            ids if ids.len() > stop => Ok(Encoded::Long(ids.len())),
            ids => Ok(Encoded::Ids(ids.to_vec())),
        }
    }
}
