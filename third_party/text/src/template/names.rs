//! Filters and tests that do not exist are found when a template is loaded, not when a rare branch of
//! it is first taken.

use minijinja::machinery::{get_compiled_template, Instruction, Instructions};
use minijinja::{tests, Environment, Template};

use super::Failure;

pub fn check(env: &Environment, template: &Template) -> Result<(), Failure> {
    let compiled = get_compiled_template(template);
    let state = env.empty_state();
    let mut index = 0;
    let instructions: &Instructions = &compiled.instructions;
    while let Some(instruction) = instructions.get(index) {
        let unknown = match instruction {
            Instruction::ApplyFilter(name, ..) if !tests::is_filter(&state, name) => Some(("filter", name)),
            Instruction::PerformTest(name, ..) if !tests::is_test(&state, name) => Some(("test", name)),
            _ => None,
        };
        if let Some((what, name)) = unknown {
            let line = instructions.get_line(index).unwrap_or(0) as u32;
            return Err(Failure { line, raised: false, message: format!("the {what} {name} is unknown") });
        }
        index += 1;
    }
    Ok(())
}
