//! The tag {% generation %}, by which transformers marks the assistant's words for training.
//!
//! It changes nothing in the output, but like any block it has a scope of its own. It is rewritten to
//! {% with %}, padded so that no offset and no line number moves.

/// The source with generation tags as plain blocks.
pub fn plain(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let len = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => quoted_end(rest, "}}"),
            Some(b'%') => {
                let len = quoted_end(rest, "%}");
                let tag = &rest[..len];
                match word(tag) {
                    "generation" => out.push_str(&tag.replacen("generation", "with      ", 1)),
                    "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endwith      ", 1)),
                    "raw" => {
                        let end = raw_end(rest, len);
                        out.push_str(&rest[..end]);
                        rest = &rest[end..];
                        continue;
                    }
                    _ => out.push_str(tag),
                }
                rest = &rest[len..];
                continue;
            }
            _ => 1,
        };
        out.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    out.push_str(rest);
    out
}

/// The first word of a tag.
fn word(tag: &str) -> &str {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    &inner[..inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len())]
}

/// The length of a tag or expression up to and with `close`, which does not count inside quotes.
fn quoted_end(text: &str, close: &str) -> usize {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut i = 2;
    while i < bytes.len() {
        match (quote, bytes[i]) {
            (Some(_), b'\\') => i += 1,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, c @ (b'"' | b'\'')) => quote = Some(c),
            (None, _) if bytes[i..].starts_with(close.as_bytes()) => return i + close.len(),
            (None, _) => {}
        }
        i += 1;
    }
    text.len()
}

/// The end of a raw block that begins with a tag of `len` bytes: where its endraw tag begins.
fn raw_end(text: &str, len: usize) -> usize {
    let mut at = len;
    while let Some(found) = text[at..].find("{%") {
        at += found;
        if word(&text[at..]) == "endraw" {
            return at;
        }
        at += 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn only_tags_change() {
        for (source, want) in [
            ("a {%- generation -%}b{% endgeneration %}", "a {%- with       -%}b{% endwith       %}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            ("{% if x == '%}' %}{% generation %}", "{% if x == '%}' %}{% with       %}"),
            ("{% set generation = 1 %}{", "{% set generation = 1 %}{"),
            ("{{ 'é' ", "{{ 'é' "),
            ("{% raw %}", "{% raw %}"),
        ] {
            assert_eq!(plain(source), want);
        }
    }
}
