//! Chat templates: Jinja as Hugging Face's transformers runs it, on minijinja.
//!
//! A template comes with a model from the internet. It gets no files and no other templates, a budget
//! of work and memory (minijinja's fuel), a limit of output, and a deadline.

mod generation;
mod json;
mod methods;
mod names;
mod python;
mod time;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value as Json};

use crate::cell::{self, Allowance};
use crate::guard;
use crate::mark::Controls;

/// The longest template known has 20 kB.
const SOURCE_MAX: usize = 128 << 10;
const ALLOWED: Allowance = Allowance { time: Duration::from_secs(2), memory: 512 << 20 };
const VARS_MAX: usize = 32 << 20;
const OUTPUT_MAX: usize = 8 << 20;
/// A unit is one instruction or 64 bytes. Qwen3's template needs about 150 a message.
const FUEL: u64 = 1_000_000;
const RECURSION_MAX: usize = 200;

/// A parsed template; rendering does not change it.
pub struct Template {
    env: Arc<Environment<'static>>,
    /// A render had to be left behind; another would be too.
    stuck: AtomicBool,
}

/// Why a template could not be parsed or rendered.
#[derive(Debug)]
pub struct Failure {
    /// 0 if unknown.
    pub line: u32,
    /// The template itself refused, by raise_exception.
    pub raised: bool,
    pub message: String,
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure { line: 0, raised: false, message }
    }
}

impl Template {
    pub fn parse(source: &str) -> Result<Template, Failure> {
        if source.len() > SOURCE_MAX {
            return Err(format!("the template has {} bytes, at most {SOURCE_MAX} are read", source.len()).into());
        }
        let source = source.to_string();
        let env = cell::run(ALLOWED, move || prepare(&source)).map_err(|e| format!("parsing: {e}"))??;
        Ok(Template { env: Arc::new(env), stuck: AtomicBool::new(false) })
    }

    /// Renders with the variables of a JSON object. With `controls`, these tokens are broken in the
    /// variables by a mark, which is returned if it was needed. `now` is local time in seconds since
    /// 1970, for strftime_now.
    pub fn render(
        &self,
        vars: &[u8],
        controls: Option<&Controls>,
        now: i64,
    ) -> Result<(String, Option<char>), Failure> {
        if vars.len() > VARS_MAX {
            return Err(format!("the variables have {} bytes of JSON, at most {VARS_MAX} are read", vars.len()).into());
        }
        if self.stuck.load(Relaxed) {
            return Err("the template is not used again after it ran too long".to_string().into());
        }
        let mut vars: Map<String, Json> = serde_json::from_slice(vars).map_err(|e| format!("variables: {e}"))?;
        let mark = controls.map(|c| c.mark_vars(&mut vars)).transpose()?.flatten();
        let env = Arc::clone(&self.env);
        let text = cell::run(ALLOWED, move || render(&env, vars, now)).map_err(|e| {
            self.stuck.store(true, Relaxed);
            format!("rendering: {e}")
        })??;
        Ok((text, mark))
    }
}

/// The engine, set as transformers sets Jinja2, with the template in it.
fn prepare(source: &str) -> Result<Environment<'static>, Failure> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.map_err(failure)?);
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_recursion_limit(RECURSION_MAX);
    env.set_fuel(Some(FUEL));
    env.set_unknown_method_callback(methods::call);
    env.add_filter("tojson", json::to_json);
    python::add_to(&mut env);
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    env.add_template_owned("template", generation::plain(source)).map_err(failure)?;
    let template = env.get_template("template").map_err(failure)?;
    names::check(&env, &template)?;
    Ok(env)
}

/// One render, in its cell.
fn render(env: &Environment, vars: Map<String, Json>, now: i64) -> Result<String, Failure> {
    let mut context: Vec<(String, Value)> = vec![("strftime_now".into(), time::function(now))];
    context.extend(vars.into_iter().map(|(name, value)| (name, from_json(value))));
    let context = Value::from_pairs(context);
    let template = env.get_template("template").map_err(failure)?;
    let mut out = Limited { text: Vec::new(), end: cell::used() + ALLOWED.time };
    let rendered = template.render_captured_to(context, &mut out);
    rendered.map(drop).map_err(failure)?;
    Ok(String::from_utf8(out.text).map_err(|e| e.to_string())?)
}

fn from_json(value: Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(b) => Value::from(b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::from(i),
            (None, Some(u)) => Value::from(u),
            (None, None) => Value::from(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text),
        Json::Array(items) => items.into_iter().map(from_json).collect(),
        Json::Object(fields) => Value::from_pairs(fields.into_iter().map(|(key, v)| (key, from_json(v)))),
    }
}

/// The output, within its limits.
struct Limited {
    text: Vec<u8>,
    end: Duration,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > OUTPUT_MAX {
            return Err(io::Error::other(format!("the output is longer than {OUTPUT_MAX} bytes")));
        }
        if cell::used() > self.end {
            return Err(io::Error::other(format!("rendering takes longer than {:?}", ALLOWED.time)));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Marks an error as the template's own.
#[derive(Debug)]
struct Raised(String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn failure(error: Error) -> Failure {
    let line = error.line().unwrap_or(0) as u32;
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(raised) = cause.downcast_ref::<Raised>() {
            return Failure { line, raised: true, message: guard::one_line(&raised.0) };
        }
        source = cause.source();
    }
    let message = match error.kind() {
        ErrorKind::OutOfFuel => "the template works too long or makes too much text".to_string(),
        ErrorKind::WriteFailure => match std::error::Error::source(&error) {
            Some(cause) => cause.to_string(),
            None => error.to_string(),
        },
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    Failure { line, raised: false, message: guard::one_line(&message) }
}
