//! The filter tojson, as transformers defines it: json.dumps with ensure_ascii off.

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::Error;

use super::python::{fail, float, Limited, DEPTH_MAX};

/// tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)
pub fn to_json(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let argument = |i: usize, name: &str| -> Result<Option<Value>, Error> {
        let given = match positional.get(i) {
            Some(value) => Some(value.clone()),
            None => named.get::<Option<Value>>(name)?,
        };
        Ok(given.filter(|v| !v.is_none() && !v.is_undefined()))
    };
    let truth = |v: Option<Value>| v.is_some_and(|v| v.is_true());
    let mut writer = Writer {
        out: Limited::default(),
        ascii: truth(argument(0, "ensure_ascii")?),
        indent: argument(1, "indent")?.map(indent).transpose()?,
        item: ", ".into(),
        key: ": ".into(),
        sort: truth(argument(3, "sort_keys")?),
    };
    if writer.indent.is_some() {
        writer.item = ",".into();
    }
    if let Some(pair) = argument(2, "separators")? {
        let separator = |i| Ok::<_, Error>(pair.get_item_by_index(i)?.to_string());
        writer.item = separator(0)?;
        writer.key = separator(1)?;
    }
    named.assert_all_used()?;
    writer.value(value, 0)?;
    Ok(writer.out.0)
}

/// An indent is a number of spaces or the text itself.
fn indent(value: Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_string());
    }
    let spaces = i64::try_from(value)?.clamp(0, 64);
    Ok(" ".repeat(spaces as usize))
}

struct Writer {
    out: Limited,
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(fail(format!("tojson: a value nests deeper than {DEPTH_MAX} levels")));
        }
        match value.kind() {
            ValueKind::None => self.out.push("null"),
            ValueKind::Bool => self.out.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth),
            ValueKind::Map => self.map(value, depth),
            other => Err(fail(format!("tojson: a value of type {other} cannot be written as JSON"))),
        }
    }

    fn number(&mut self, value: &Value) -> Result<(), Error> {
        if value.is_integer() {
            return self.out.push(&value.to_string());
        }
        let text = float(f64::try_from(value.clone())?);
        self.out.push(match text.as_str() {
            "nan" => "NaN",
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            text => text,
        })
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push("[")?;
        let mut empty = true;
        for item in value.try_iter()?.checked() {
            self.separate(empty, depth + 1)?;
            empty = false;
            self.value(&item?, depth + 1)?;
        }
        self.close(empty, depth, "]")
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys = value.try_iter()?.checked().collect::<Result<Vec<Value>, Error>>()?;
        if self.sort {
            keys.sort();
        }
        self.out.push("{")?;
        let empty = keys.is_empty();
        for (i, key) in keys.iter().enumerate() {
            self.separate(i == 0, depth + 1)?;
            match key.kind() {
                ValueKind::String => self.value(key, depth)?,
                ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                    self.out.push("\"")?;
                    self.value(key, depth)?;
                    self.out.push("\"")?;
                }
                other => return Err(fail(format!("tojson: a key of type {other} cannot be written as JSON"))),
            }
            let colon = self.key.clone();
            self.out.push(&colon)?;
            self.value(&value.get_item(key)?, depth + 1)?;
        }
        self.close(empty, depth, "}")
    }

    /// What stands before an item.
    fn separate(&mut self, first: bool, depth: usize) -> Result<(), Error> {
        if !first {
            let item = self.item.clone();
            self.out.push(&item)?;
        }
        self.line(depth)
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: &str) -> Result<(), Error> {
        if !empty {
            self.line(depth)?;
        }
        self.out.push(bracket)
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = self.indent.take() {
            self.out.push("\n")?;
            for _ in 0..depth {
                self.out.push(&indent)?;
            }
            self.indent = Some(indent);
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.out.push("\"")?;
        let mut done = 0;
        for (i, c) in text.char_indices() {
            let escaped = match c {
                '"' => "\\\"".to_string(),
                '\\' => "\\\\".to_string(),
                '\n' => "\\n".to_string(),
                '\r' => "\\r".to_string(),
                '\t' => "\\t".to_string(),
                '\u{8}' => "\\b".to_string(),
                '\u{c}' => "\\f".to_string(),
                c if (c as u32) < 0x20 => format!("\\u{:04x}", c as u32),
                c if self.ascii && !c.is_ascii() => {
                    c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect()
                }
                _ => continue,
            };
            self.out.push(&text[done..i])?;
            self.out.push(&escaped)?;
            done = i + c.len_utf8();
        }
        self.out.push(&text[done..])?;
        self.out.push("\"")
    }
}
