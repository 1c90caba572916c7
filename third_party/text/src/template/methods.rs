//! Methods of Python's str, list and dict. minijinja-contrib has the common ones; here is the rest of
//! those that change nothing. Methods that change a value are refused, as in Jinja2's sandbox.

use minijinja::value::{from_args, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::python::fail;
use super::OUTPUT_MAX;

pub fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let ours = match value.kind() {
        ValueKind::String => of_str(value.as_str().unwrap_or_default(), method, args)?,
        ValueKind::Seq if method == "index" => Some(index(value, args)?),
        ValueKind::Seq | ValueKind::Map if method == "copy" => {
            let () = from_args(args)?;
            Some(value.clone())
        }
        _ => None,
    };
    match ours {
        Some(value) => Ok(value),
        None => unknown_method_callback(state, value, method, args),
    }
}

fn of_str(s: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let text = |t: &str| Ok(Some(Value::from(t)));
    match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text(s.strip_prefix(prefix).unwrap_or(s))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text(s.strip_suffix(suffix).unwrap_or(s))
        }
        "casefold" => {
            let () = from_args(args)?;
            text(&s.to_lowercase())
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swap = |c: char| match c.is_uppercase() {
                true => c.to_lowercase().collect::<String>(),
                false => c.to_uppercase().collect(),
            };
            text(&s.chars().map(swap).collect::<String>())
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(fail(format!("{method}: the separator is empty")));
            }
            let parts = match method {
                "partition" => s.split_once(separator).map(|(a, b)| [a, separator, b]).unwrap_or([s, "", ""]),
                _ => s.rsplit_once(separator).map(|(a, b)| [a, separator, b]).unwrap_or(["", "", s]),
            };
            Ok(Some(Value::from(Tuple::from(parts.map(Value::from)))))
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            rsplit(s, separator, most.unwrap_or(-1)).map(Some)
        }
        "index" | "rindex" => {
            let (what,): (&str,) = from_args(args)?;
            let found = if method == "index" { s.find(what) } else { s.rfind(what) };
            let at = found.ok_or_else(|| fail(format!("{method}: the substring is not found")))?;
            Ok(Some(Value::from(s[..at].chars().count())))
        }
        "center" | "ljust" | "rjust" => {
            let (width, fill): (i64, Option<&str>) = from_args(args)?;
            let missing = missing(s, width)?;
            let left = match method {
                "ljust" => 0,
                "rjust" => missing,
                _ => missing / 2 + (missing & width.unsigned_abs() as usize & 1), // as Python rounds
            };
            let fill = fill.unwrap_or(" ");
            text(&[&fill.repeat(left), s, &fill.repeat(missing - left)].concat())
        }
        "zfill" => {
            let (width,): (i64,) = from_args(args)?;
            let (sign, digits) = s.split_at(usize::from(s.starts_with(['+', '-'])));
            text(&[sign, &"0".repeat(missing(s, width)?), digits].concat())
        }
        _ => Ok(None),
    }
}

/// How many characters a text lacks to a width.
fn missing(s: &str, width: i64) -> Result<usize, Error> {
    if width > OUTPUT_MAX as i64 / 4 {
        return Err(fail(format!("a width of {width} is too large")));
    }
    Ok((width.max(0) as usize).saturating_sub(s.chars().count()))
}

fn rsplit(s: &str, separator: Option<&str>, most: i64) -> Result<Value, Error> {
    let limit = usize::try_from(most).map_or(usize::MAX, |n| n.saturating_add(1));
    let mut parts: Vec<&str> = Vec::new();
    match separator {
        Some("") => return Err(fail("rsplit: the separator is empty")),
        Some(separator) => parts.extend(s.rsplitn(limit, separator)),
        None => {
            let mut rest = s.trim_end();
            while !rest.is_empty() {
                match rest.rfind(char::is_whitespace) {
                    Some(at) if parts.len() + 1 < limit => {
                        let space = rest[at..].chars().next().map_or(1, char::len_utf8);
                        parts.push(&rest[at + space..]);
                        rest = rest[..at].trim_end();
                    }
                    _ => {
                        parts.push(rest);
                        break;
                    }
                }
            }
        }
    }
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

fn index(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (what,): (&Value,) = from_args(args)?;
    for (i, item) in list.try_iter()?.checked().enumerate() {
        if item? == *what {
            return Ok(Value::from(i));
        }
    }
    Err(Error::new(ErrorKind::InvalidOperation, "index: the value is not in the list"))
}
