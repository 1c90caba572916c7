//! Control tokens in content: found, and broken by a mark so that they stay plain text.
//!
//! A mark is one noncharacter, put after the first character of each occurrence. It travels through
//! the template with the content, keeps the tokenizer from recognising the control token, and is taken
//! out again between the split at added tokens and the model's own splitting (see [`crate::encode`]),
//! so that the ids are those of the text as plain text.

use aho_corasick::{AhoCorasick, MatchKind};
use hf::Tokenizer;
use serde_json::{Map, Value};

/// The tokens that steer a model and must not come from content.
pub struct Controls {
    finder: Option<AhoCorasick>,
    tokens: Vec<String>,
}

impl Controls {
    pub fn new(tokenizer: &Tokenizer) -> Controls {
        let mut tokens: Vec<String> = tokenizer
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .values()
            .filter(|t| is_control(&t.content, t.special))
            .map(|t| t.content.clone())
            .collect();
        tokens.sort();
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&tokens).ok();
        Controls { finder: finder.filter(|_| !tokens.is_empty()), tokens }
    }

    /// Breaks every control token in `text`, and one that begins at its end and could be completed by
    /// what follows. Returns None when there is nothing to break.
    pub fn mark(&self, text: &str, mark: char) -> Option<String> {
        let finder = self.finder.as_ref()?;
        let mut marked = String::new();
        let mut done = 0;
        for found in starts(finder, text) {
            let cut = found + first_len(&text[found..]);
            marked.push_str(&text[done..cut]);
            marked.push(mark);
            done = cut;
        }
        if let Some(start) = self.partial(text).filter(|&start| start >= done) {
            let cut = start + first_len(&text[start..]);
            marked.push_str(&text[done..cut]);
            marked.push(mark);
            done = cut;
        }
        if done == 0 {
            return None;
        }
        marked.push_str(&text[done..]);
        Some(marked)
    }

    /// Where a control token begins that the end of `text` cuts off; white space after it is ignored,
    /// because templates trim.
    fn partial(&self, text: &str) -> Option<usize> {
        let text = text.trim_end();
        self.tokens
            .iter()
            .filter_map(|token| {
                token.char_indices().rev().map(|(i, _)| &token[..i]).find(|p| !p.is_empty() && text.ends_with(p))
            })
            .map(|prefix| text.len() - prefix.len())
            .min()
    }
}

/// Special tokens, and those that a file forgot to call special but that look like nothing else:
/// DeepSeek's <｜User｜> is such a one. <think> and <tool_call> are content and stay tokens.
fn is_control(content: &str, special: bool) -> bool {
    let framed = |open: &str, close: &str| content.starts_with(open) && content.ends_with(close);
    special || framed("<|", "|>") || framed("<｜", "｜>")
}

fn first_len(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// Where the matches begin, left to right. After each the search goes on behind its first character,
/// because breaking it there may leave another token that began inside.
fn starts(finder: &AhoCorasick, text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut from = 0;
    while let Some(found) = finder.find(&text[from..]) {
        let start = from + found.start();
        starts.push(start);
        from = start + first_len(&text[start..]);
    }
    starts
}

impl Controls {
    /// Breaks control tokens in all texts below the variables of a template, and returns the mark.
    /// Plain texts at the top, such as bos_token, and lists such as additional_special_tokens are the
    /// operator's and stay as they are.
    pub fn mark_vars(&self, vars: &mut Map<String, Value>) -> Result<Option<char>, String> {
        let mut texts = Vec::new();
        for value in vars.values() {
            collect(value, &mut texts);
        }
        let mark = choose(&texts).ok_or("the texts hold all of U+FDD0 to U+FDEF")?;
        let mut marked = false;
        for (name, value) in vars.iter_mut() {
            if !value.is_string() && !name.ends_with("_tokens") {
                marked |= self.mark_value(value, mark);
            }
        }
        Ok(marked.then_some(mark))
    }

    fn mark_value(&self, value: &mut Value, mark: char) -> bool {
        match value {
            Value::String(text) => match self.mark(text, mark) {
                Some(marked) => {
                    *text = marked;
                    true
                }
                None => false,
            },
            Value::Array(items) => items.iter_mut().fold(false, |any, v| self.mark_value(v, mark) | any),
            Value::Object(fields) => {
                let mut any = false;
                for (key, mut value) in std::mem::take(fields) {
                    any |= self.mark_value(&mut value, mark);
                    let marked = self.mark(&key, mark);
                    any |= marked.is_some();
                    fields.insert(marked.unwrap_or(key), value);
                }
                any
            }
            _ => false,
        }
    }
}

fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|v| collect(v, texts)),
        Value::Object(fields) => fields.iter().for_each(|(key, v)| {
            texts.push(key);
            collect(v, texts);
        }),
        _ => {}
    }
}

/// A noncharacter that none of the texts holds.
pub fn choose(texts: &[&str]) -> Option<char> {
    ('\u{FDD0}'..='\u{FDEF}').find(|&c| !texts.iter().any(|t| t.contains(c)))
}
