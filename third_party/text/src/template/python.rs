//! Values as Python writes them, and the tests that Jinja2 answers in Python's way.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State};

use super::OUTPUT_MAX;

/// Values nest no deeper than JSON may; a template can build deeper ones.
pub const DEPTH_MAX: usize = 200;

pub fn add_to(env: &mut Environment) {
    env.set_formatter(|out: &mut Output, _: &mut State, value: &Value| {
        match value.as_str() {
            Some(text) => out.write_str(text)?,
            None => out.write_str(&str(value)?)?,
        }
        Ok(())
    });
    env.add_filter("string", |value: &Value| str(value));
    for name in ["e", "escape", "forceescape"] {
        env.add_filter(name, |value: &Value| str(value).map(|text| escape(&text)));
    }
    env.add_test("iterable", |v: &Value| !v.is_none() && v.try_iter().is_ok());
    env.add_test("sequence", |v: &Value| {
        v.is_undefined() || matches!(v.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String)
    });
    env.add_test("callable", |v: &Value| v.kind() == ValueKind::Plain);
}

/// Python's str().
pub fn str(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_string()),
        None if value.is_undefined() => Ok(String::new()),
        None => {
            let mut out = Limited::default();
            repr(&mut out, value, 0)?;
            Ok(out.0)
        }
    }
}

/// HTML escapes as MarkupSafe writes them.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}

/// Python's repr() of a float, which is also its JSON.
pub fn float(f: f64) -> String {
    if f.is_nan() {
        return "nan".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{f:e}"); // the shortest digits that read back as f
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{f}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Text that may not outgrow the output: a value that holds itself many times is short to build.
#[derive(Default)]
pub struct Limited(pub String);

impl Limited {
    pub fn push(&mut self, text: &str) -> Result<(), Error> {
        if self.0.len() + text.len() > OUTPUT_MAX {
            return Err(fail(format!("a value is longer than {OUTPUT_MAX} bytes")));
        }
        self.0.push_str(text);
        Ok(())
    }
}

pub fn fail(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn repr(out: &mut Limited, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(fail(format!("a value nests deeper than {DEPTH_MAX} levels")));
    }
    match value.kind() {
        ValueKind::Number if !value.is_integer() => out.push(&float(f64::try_from(value.clone())?)),
        ValueKind::Undefined => out.push("Undefined"),
        ValueKind::String => out.push(&format!("{value:?}")),
        ValueKind::Seq => {
            let tuple = value.is_tuple();
            out.push(if tuple { "(" } else { "[" })?;
            let mut count = 0;
            for item in value.try_iter()?.checked() {
                out.push(if count == 0 { "" } else { ", " })?;
                repr(out, &item?, depth + 1)?;
                count += 1;
            }
            out.push(match (tuple, count) {
                (true, 1) => ",)",
                (true, _) => ")",
                _ => "]",
            })
        }
        ValueKind::Map => {
            out.push("{")?;
            for (i, key) in value.try_iter()?.checked().enumerate() {
                let key = key?;
                out.push(if i == 0 { "" } else { ", " })?;
                repr(out, &key, depth + 1)?;
                out.push(": ")?;
                repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push("}")
        }
        _ => out.push(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_as_python_writes_them() {
        for (f, want) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (0.0, "0.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(float(f), want);
        }
    }
}
