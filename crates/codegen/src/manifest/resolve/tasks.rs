//! Resolves the tools that make tasks and the tools that serve them.

use super::super::model::{self, Manifest};
use super::super::names::{is_snake_case, suggestion};
use super::super::yaml::Located;
use super::{Param, Resolver};

/// The task that a call of a tool makes.
#[derive(Clone, Debug)]
pub struct TaskSource {
    /// The API operation that starts the work that the task follows.
    pub operation: String,
    /// The field of the result that contains the id of the started operation.
    pub id: String,
    /// The argument that decides whether the call waits.
    pub waits: Option<String>,
}

/// The tools that serve every task.
#[derive(Clone, Debug)]
pub struct TaskTools {
    /// The tool that looks up the operation of a task.
    pub look_up: String,
    /// The tool that cancels the operation of a task.
    pub cancel: String,
}

impl Resolver<'_> {
    pub(super) fn task(
        &mut self,
        name: &Located<String>,
        tool: &model::Tool,
        task: &Located<model::MakesTask>,
        params: &[Param],
    ) -> TaskSource {
        let label = format!("{}.makes_task", name.value);
        let operation = &task.operation;
        let mut uses = tool.operation.iter().chain(&tool.uses);
        if !uses.any(|used| used.as_str() == operation.as_str()) {
            let text = format!("{label}: the tool does not use `{}`", operation.value);
            let known = tool.operation.iter().chain(&tool.uses);
            let hint = suggestion(operation, known.map(|id| id.as_str()));
            self.problem(operation.line, format!("{text}{hint}"));
        } else if let Some(known) = self.api.operations.get(operation.as_str())
            && known.method != "POST"
        {
            let text = format!(
                "{label}: `{}` is a {}, which starts nothing",
                operation.value, known.method
            );
            self.problem(
                operation.line,
                format!("{text} (name the POST that starts the work of the task)"),
            );
        }
        if !is_snake_case(&task.id) {
            let text = format!(
                "{label}: `{}` is not a valid name for a field of a result",
                task.id.value
            );
            self.problem(task.id.line, format!("{text} (write it in snake_case)"));
        }
        if let Some(waits) = &task.waits {
            match params.iter().find(|param| param.name == waits.value) {
                Some(param) if param.shape.kind == "boolean" => {}
                Some(param) => {
                    let text =
                        format!("{label}: `{}` is of type {}", waits.value, param.shape.kind);
                    self.problem(
                        waits.line,
                        format!("{text} (name a boolean argument that is true if the call waits)"),
                    );
                }
                None => {
                    let known = params.iter().map(|param| param.name.as_str());
                    let hint = suggestion(waits, known);
                    let text = format!("{label}: the tool has no argument `{}`", waits.value);
                    self.problem(waits.line, format!("{text}{hint}"));
                }
            }
        }
        TaskSource {
            operation: operation.value.clone(),
            id: task.id.value.clone(),
            waits: task.waits.as_ref().map(|waits| waits.value.clone()),
        }
    }

    /// Resolves the tools that serve tasks. Checks that they exist if a tool makes tasks.
    pub(super) fn task_tools(&mut self, manifest: &Manifest) -> Option<TaskTools> {
        let makes_task = manifest
            .tools
            .iter()
            .find_map(|(name, tool)| Some((name, tool.makes_task.as_ref()?)));
        match (&manifest.tasks, makes_task) {
            (None, Some((name, task))) => {
                let text = format!(
                    "{}: no tool serves its tasks (add `tasks` with `look_up` and `cancel`)",
                    name.value
                );
                self.problem(task.line, text);
            }
            (Some(tasks), None) => {
                let text =
                    "tasks: no tool makes a task (remove `tasks`, or add `makes_task` to a tool)";
                self.problem(tasks.line, text);
            }
            _ => {}
        }
        let tasks = manifest.tasks.as_ref()?;
        for tool in [&tasks.look_up, &tasks.cancel] {
            if !manifest.tools.contains_key(tool.as_str()) {
                let known = manifest.tools.keys().map(|name| name.as_str());
                let hint = suggestion(tool, known);
                let text = format!("tasks: there is no tool `{}`{hint}", tool.value);
                self.problem(tool.line, text);
            }
        }
        Some(TaskTools {
            look_up: tasks.look_up.value.clone(),
            cancel: tasks.cancel.value.clone(),
        })
    }
}
