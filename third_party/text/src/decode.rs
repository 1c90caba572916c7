//! Ids to text, one token at a time.
//!
//! For nearly all decoders the text of a token depends on nothing but the token and whether it is the
//! first, so the bytes of every token are worked out once, at load. A stream then joins bytes and
//! holds back a rune whose end is still to come. Decoding a whole list is the same stream, so the
//! two cannot disagree. The few decoders that look further, of speech and of models before 2019, are
//! refused.

use std::sync::Arc;

use hf::{Decoder, DecoderWrapper, Tokenizer};

use crate::guard;
use crate::handle::Text;

const SPECIAL: u8 = 1;
const VALID: u8 = 2;

/// The bytes of every token.
pub struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    flags: Vec<u8>,
    scheme: Scheme,
}

/// How the tokens' texts are joined.
#[derive(Default)]
struct Scheme {
    bytes: Bytes,
    /// Steps of the decoder that work on one token.
    steps: Vec<DecoderWrapper>,
    /// The first token's text differs from what it is elsewhere.
    first_differs: bool,
    /// Stands between two tokens.
    joint: &'static str,
    /// Leading characters dropped from the whole text.
    strip: Option<(char, usize)>,
}

/// Which tokens stand for bytes.
#[derive(Default, PartialEq)]
enum Bytes {
    #[default]
    None,
    /// Each character of each token stands for a byte, as GPT-2 has it.
    Level,
    /// Tokens such as <0x0A>, as SentencePiece has it.
    Fallback,
}

impl Scheme {
    fn new(decoder: Option<&DecoderWrapper>) -> Result<Scheme, String> {
        let Some(decoder) = decoder else {
            return Ok(Scheme { joint: " ", ..Scheme::default() });
        };
        let steps = match decoder {
            DecoderWrapper::Sequence(s) => s.get_decoders(),
            one => std::slice::from_ref(one),
        };
        let mut scheme = Scheme::default();
        let mut fused = false;
        for (i, step) in steps.iter().enumerate() {
            let by_token = !fused && scheme.bytes == Bytes::None;
            match step {
                DecoderWrapper::ByteLevel(_) if steps.len() == 1 => scheme.bytes = Bytes::Level,
                DecoderWrapper::ByteFallback(_) if by_token => scheme.bytes = Bytes::Fallback,
                DecoderWrapper::Fuse(_) => fused = true,
                DecoderWrapper::Strip(s) if fused && s.stop == 0 && i + 1 == steps.len() => {
                    scheme.strip = Some((s.content, s.start));
                }
                DecoderWrapper::Strip(s) if by_token && s.stop == 0 => scheme.steps.push(step.clone()),
                DecoderWrapper::Replace(_) if by_token => scheme.steps.push(step.clone()),
                DecoderWrapper::Metaspace(_) | DecoderWrapper::WordPiece(_) if by_token => {
                    scheme.first_differs = true;
                    scheme.steps.push(step.clone());
                }
                _ => {
                    let step = serde_json::to_string(step).unwrap_or_default();
                    return Err(guard::one_line(&format!("step {} of the decoder cannot be streamed: {step}", i + 1)));
                }
            }
        }
        Ok(scheme)
    }

    /// The bytes of one token, as the first of a text or later in it.
    fn bytes(&self, token: String, first: bool) -> Result<Vec<u8>, String> {
        let mut tokens = if first { vec![token] } else { vec![String::new(), token] };
        for step in &self.steps {
            tokens = step.decode_chain(tokens).map_err(|e| e.to_string())?;
        }
        let text = tokens.pop().unwrap_or_default();
        Ok(match self.bytes {
            Bytes::None => text.into_bytes(),
            Bytes::Fallback => match fallback(&text) {
                Some(byte) => vec![byte],
                None => text.into_bytes(),
            },
            Bytes::Level => {
                let bytes: Option<Vec<u8>> = text.chars().map(level).collect();
                bytes.unwrap_or_else(|| text.into_bytes())
            }
        })
    }
}

/// The byte of a token such as <0x0A>.
fn fallback(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// The byte that a character of a byte-level token stands for. Bytes that print stand for themselves;
/// the 68 others are U+0100 and up, in order.
fn level(c: char) -> Option<u8> {
    match c as u32 {
        n @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(n as u8),
        n @ 0x100..=0x120 => Some((n - 0x100) as u8),        // 00 to 20
        n @ 0x121..=0x142 => Some((n - 0x121 + 0x7F) as u8), // 7F to A0
        0x143 => Some(0xAD),
        _ => None,
    }
}

impl Pieces {
    pub fn new(tokenizer: &Tokenizer, size: u32) -> Result<Pieces, String> {
        let mut pieces = Pieces {
            bytes: Vec::new(),
            ends: Vec::with_capacity(size as usize),
            flags: Vec::with_capacity(size as usize),
            scheme: Scheme::new(tokenizer.get_decoder())?,
        };
        let added = tokenizer.get_added_vocabulary();
        for id in 0..size {
            let token = tokenizer.id_to_token(id);
            let mut flags = 0;
            if let Some(token) = token {
                if added.is_special_token(&token) {
                    flags |= SPECIAL;
                }
                let bytes = pieces.scheme.bytes(token, false)?;
                if std::str::from_utf8(&bytes).is_ok() {
                    flags |= VALID;
                }
                pieces.bytes.extend_from_slice(&bytes);
            }
            pieces.ends.push(pieces.bytes.len() as u32);
            pieces.flags.push(flags);
        }
        if u32::try_from(pieces.bytes.len()).is_err() {
            return Err("the tokens together are longer than 4 GB".into());
        }
        pieces.bytes.shrink_to_fit();
        Ok(pieces)
    }

    /// The highest id plus one.
    pub fn size(&self) -> u32 {
        self.ends.len() as u32
    }

    pub fn special(&self, id: u32) -> bool {
        self.flags.get(id as usize).is_some_and(|f| f & SPECIAL != 0)
    }

    fn get(&self, id: u32) -> Option<(&[u8], u8)> {
        let i = id as usize;
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        Some((&self.bytes[start..end], self.flags[i]))
    }
}

/// Tokens in, text out.
pub struct Stream {
    text: Arc<Text>,
    keep_special: bool,
    first: bool,
    strip: usize,
    /// The beginning of a rune that is not yet complete, at most three bytes.
    held: Vec<u8>,
    out: String,
}

impl Stream {
    pub fn new(text: Arc<Text>, keep_special: bool) -> Stream {
        let mut stream =
            Stream { text, keep_special, first: true, strip: 0, held: Vec::with_capacity(8), out: String::new() };
        stream.reset();
        stream
    }

    pub fn reset(&mut self) {
        self.first = true;
        self.held.clear();
        self.strip = self.text.pieces.scheme.strip.map_or(0, |s| s.1);
    }

    /// The text that became certain with this token, valid until the next call. An id that the
    /// tokenizer does not know has no text: models have more rows than tokens.
    pub fn push(&mut self, id: u32) -> Result<&str, String> {
        self.out.clear();
        self.append(id)?;
        Ok(&self.out)
    }

    /// What was held back, with U+FFFD for a rune that never ended.
    pub fn flush(&mut self) -> &str {
        self.out.clear();
        self.finish();
        &self.out
    }

    fn append(&mut self, id: u32) -> Result<(), String> {
        let text = Arc::clone(&self.text);
        let Some((piece, flags)) = text.pieces.get(id) else { return Ok(()) };
        if flags & SPECIAL != 0 && !self.keep_special {
            return Ok(());
        }
        let scheme = &text.pieces.scheme;
        let first = std::mem::replace(&mut self.first, false);
        if first && scheme.first_differs {
            let token = text.tokenizer.id_to_token(id).unwrap_or_default();
            let bytes = scheme.bytes(token, true)?;
            self.emit(&bytes, false, scheme);
            return Ok(());
        }
        if !first && !scheme.joint.is_empty() {
            self.emit(scheme.joint.as_bytes(), true, scheme);
        }
        self.emit(piece, flags & VALID != 0, scheme);
        Ok(())
    }

    /// Adds bytes to the text, all but the beginning of a rune at their end.
    fn emit(&mut self, bytes: &[u8], valid: bool, scheme: &Scheme) {
        if valid && self.held.is_empty() && self.strip == 0 {
            // SAFETY: the flag was set after from_utf8 had accepted these bytes.
            self.out.push_str(unsafe { std::str::from_utf8_unchecked(bytes) });
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let from = self.out.len();
        let used = lossy(&held, &mut self.out);
        held.drain(..used);
        self.held = held;
        if let Some((c, _)) = scheme.strip {
            self.strip_leading(from, c);
        }
    }

    fn strip_leading(&mut self, from: usize, c: char) {
        while self.strip > 0 && self.out.len() > from {
            if !self.out[from..].starts_with(c) {
                self.strip = 0;
                return;
            }
            self.out.drain(from..from + c.len_utf8());
            self.strip -= 1;
        }
    }

    fn finish(&mut self) {
        if !self.held.is_empty() {
            self.held.clear();
            self.out.push('\u{FFFD}');
        }
    }
}

/// Appends `bytes` to `out`, each maximal invalid part as U+FFFD, and returns how many bytes that
/// were: an incomplete rune at the end is left.
fn lossy(bytes: &[u8], out: &mut String) -> usize {
    let mut at = 0;
    loop {
        match std::str::from_utf8(&bytes[at..]) {
            Ok(rest) => {
                out.push_str(rest);
                return bytes.len();
            }
            Err(e) => {
                let valid = at + e.valid_up_to();
                // SAFETY: from_utf8 has just found these bytes valid.
                out.push_str(unsafe { std::str::from_utf8_unchecked(&bytes[at..valid]) });
                match e.error_len() {
                    Some(n) => {
                        out.push('\u{FFFD}');
                        at = valid + n;
                    }
                    None => return valid,
                }
            }
        }
    }
}

impl Text {
    /// Decodes a whole list: a stream pushed and flushed at once.
    pub fn decode(self: &Arc<Text>, ids: &[u32], keep_special: bool) -> Result<String, String> {
        let mut stream = Stream::new(Arc::clone(self), keep_special);
        for &id in ids {
            stream.append(id)?;
        }
        stream.finish();
        Ok(stream.out)
    }
}
