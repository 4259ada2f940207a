//! The fixtures that the official conformance suite requires of a server: tools, prompts and
//! resources with fixed names, texts and behaviour. //! They are part of the program only with the
//! feature `conformance`, which no release has.
//!
//! All other requests are passed on to the real server, so that the suite tests its transport and
//! its protocol.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    deprecated,
    reason = "fixtures of a test, which also use deprecated parts of the protocol"
)]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ClientCapabilities,
    CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock,
    CreateMessageRequestParams, CreateTaskResult, CustomRequest, CustomResult, ElicitRequestParams,
    ErrorData, GetPromptRequestParams, GetPromptResponse, GetPromptResult, GetTaskParams,
    GetTaskResult, InputRequest, InputRequests, InputRequiredResult, InputResponses,
    ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    LoggingLevel, LoggingMessageNotificationParam, PaginatedRequestParams,
    ProgressNotificationParam, Prompt, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Reference, Resource, ResourceTemplate, ServerConfig, SetLevelRequestMethod,
    SetLevelRequestParams, Tool, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::task_manager::{TaskExit, TaskManager, TaskOptions};
use rmcp::{RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::server::Server;

/// A red dot.
const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// A WAV file without samples: only the header.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

/// The server with the fixtures in addition to its own tools, prompts and resources.
pub(super) struct Fixtures(Arc<Server>, TaskManager);

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the fixtures are well-formed")
}

static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    let plain = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_tool_with_logging",
        "test_logging_tool",
        "test_error_handling",
        "test_tool_with_progress",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_missing_capability",
        "test_streaming_elicitation",
        "test_input_required_result_elicitation",
        "test_input_required_result_sampling",
        "test_input_required_result_list_roots",
        "test_input_required_result_request_state",
        "test_input_required_result_multiple_inputs",
        "test_input_required_result_multi_round",
        "test_input_required_result_tampered_state",
        "test_input_required_result_capabilities",
    ];
    let mut tools: Vec<Tool> = plain
        .into_iter()
        .chain(TASK_TOOLS)
        .chain(["greet"])
        .map(|name| tool(name, json!({"type": "object", "properties": {}})))
        .collect();
    for (name, argument) in [("test_sampling", "prompt"), ("test_elicitation", "message")] {
        let schema = json!({"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]});
        tools.push(tool(name, schema));
    }
    let header = json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}, "required": ["region"]});
    tools.push(tool("test_custom_header", header));
    tools.push(tool(
        "json_schema_2020_12_tool",
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
            "properties": {
                "name": {"type": "string"},
                "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": {"type": "string"},
                "email": {"type": "string"},
            },
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": false,
        }),
    ));
    tools
});

fn tool(name: &'static str, schema: Value) -> Tool {
    read(
        json!({"name": name, "description": "A fixture of the conformance suite", "inputSchema": schema}),
    )
}

/// Tools that may or must become tasks.
const TASK_TOOLS: [&str; 6] = [
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
];

static PROMPTS: LazyLock<Vec<Prompt>> = LazyLock::new(|| {
    let required = |names: &[&str]| -> Vec<Value> {
        names
            .iter()
            .map(|name| json!({"name": name, "description": "An argument", "required": true}))
            .collect()
    };
    [
        ("test_simple_prompt", required(&[])),
        ("test_prompt_with_arguments", required(&["arg1", "arg2"])),
        ("test_prompt_with_embedded_resource", required(&["resourceUri"])),
        ("test_prompt_with_image", required(&[])),
        ("test_input_required_result_prompt", required(&[])),
    ]
    .into_iter()
    .map(|(name, arguments)| {
        read(json!({"name": name, "description": "A fixture of the conformance suite", "arguments": arguments}))
    })
    .collect()
});

fn texts(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

fn content(blocks: Value) -> CallToolResponse {
    CallToolResult::success(read(blocks)).into()
}

/// A form that asks for one value.
fn form(message: &str, name: &str, kind: &str) -> Value {
    json!({"method": "elicitation/create", "params": {
        "message": message,
        "requestedSchema": {"type": "object", "properties": {name: {"type": kind}}, "required": [name]},
    }})
}

fn sample(text: &str, most: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
        "maxTokens": most,
    }})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn input_required(requests: Value, state: Option<String>) -> InputRequiredResult {
    InputRequiredResult::new(Some(read::<InputRequests>(requests)), state)
}

/// A request state with a hash, which proves that this server made it.
fn signed_state(state: &str) -> String {
    static KEY: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().to_string());
    let digest = digest(&SHA256, format!("{}:{state}:{}", *KEY, *KEY).as_bytes());
    let seal: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{state}.{seal}")
}

fn verified_state(state: Option<&str>) -> Result<Option<String>, ErrorData> {
    let Some(given) = state else { return Ok(None) };
    let inner = given.rsplit_once('.').map_or("", |(inner, _)| inner);
    if signed_state(inner) == given {
        Ok(Some(inner.to_owned()))
    } else {
        Err(ErrorData::invalid_params(
            "the request state was tampered with",
            None,
        ))
    }
}

/// The value at `pointer` in the client's response `key`, if there is one.
fn accepted_value(responses: Option<&InputResponses>, key: &str, pointer: &str) -> Option<Value> {
    responses?.get(key)?.pointer(pointer).cloned()
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

impl Fixtures {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self(server, TaskManager::new())
    }

    /// A tool that may or must become a task.
    async fn task_tool(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let takes_tasks = context
            .client_capabilities()
            .is_some_and(|capabilities| capabilities.supports_tasks());
        let arguments = request.arguments.clone().unwrap_or_default();
        let seconds = arguments.get("seconds").and_then(Value::as_f64);
        let seconds = Duration::from_secs_f64(seconds.unwrap_or(1.0).clamp(0.0, 60.0));
        let name = request.name.to_string();
        if !takes_tasks {
            if name == "slow_compute" {
                tokio::time::sleep(seconds).await;
                return Ok(texts("computed"));
            }
            let needed = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
            return Err(ErrorData::missing_required_client_capability(read(needed)));
        }
        let gathered = accepted_value(
            request.input_responses.as_ref(),
            "user_name",
            "/content/name",
        );
        if name == "test_tool_with_task" && gathered.is_none() {
            let question = json!({"user_name": form("What is your name?", "name", "string")});
            return Ok(CallToolResponse::InputRequired(input_required(
                question, None,
            )));
        }
        let options = TaskOptions::new()
            .with_ttl_ms(60_000)
            .with_poll_interval_ms(100);
        let task = self.1.spawn(options, move |task| {
            Box::pin(async move {
                let done =
                    |text: String| Ok(CallToolResult::success(vec![ContentBlock::text(text)]));
                let ask = |key: &str| {
                    let question = form("Are you sure?", "confirm", "boolean");
                    task.request_input(key.to_owned(), read::<InputRequest>(question))
                };
                match name.as_str() {
                    "failing_job" => {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Ok(CallToolResult::error(vec![ContentBlock::text(
                            "the job failed",
                        )]))
                    }
                    "protocol_error_job" => Err(TaskExit::Error(ErrorData::internal_error(
                        "the job broke",
                        None,
                    ))),
                    "confirm_delete" => done(format!("answered: {}", ask("confirm").await?)),
                    "multi_input" => {
                        let (one, two) = tokio::try_join!(ask("first"), ask("second"))?;
                        done(format!("answered: {one} and {two}"))
                    }
                    "test_tool_with_task" => {
                        done(format!("Hello, {}!", gathered.unwrap_or_default()))
                    }
                    _ => tokio::select! {
                        () = task.cancelled() => Err(TaskExit::Cancelled),
                        () = tokio::time::sleep(seconds) => done("computed".to_owned()),
                    },
                }
            })
        });
        Ok(CallToolResponse::Task(CreateTaskResult::new(task)))
    }

    async fn fixture(
        &self,
        request: CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let responses = request.input_responses.as_ref();
        let state = verified_state(request.request_state.as_deref())?;
        let argument = |name: &str| -> String {
            let arguments = request.arguments.as_ref();
            let value = arguments.and_then(|arguments| arguments.get(name)?.as_str());
            value.unwrap_or_default().to_owned()
        };
        Ok(match &*request.name {
            "greet" => texts(format!("Hello, {}!", argument("name"))),
            name if TASK_TOOLS.contains(&name) => self.task_tool(&request, context).await?,
            "test_simple_text" => texts("This is a simple text response for testing."),
            "test_image_content" => {
                content(json!([{"type": "image", "data": IMAGE, "mimeType": "image/png"}]))
            }
            "test_audio_content" => {
                content(json!([{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}]))
            }
            "test_embedded_resource" => content(json!([{"type": "resource", "resource": {
                "uri": "test://embedded-resource", "mimeType": "text/plain", "text": "This is an embedded resource content.",
            }}])),
            "test_multiple_content_types" => content(json!([
                {"type": "text", "text": "Multiple content types test:"},
                {"type": "image", "data": IMAGE, "mimeType": "image/png"},
                {"type": "resource", "resource": {
                    "uri": "test://mixed-content-resource", "mimeType": "application/json", "text": "{\"test\":\"data\",\"value\":123}",
                }},
            ])),
            "test_tool_with_logging" | "test_logging_tool" => {
                for line in [
                    "Tool execution started",
                    "Tool processing data",
                    "Tool execution completed",
                ] {
                    log(context, line).await;
                    pause().await;
                }
                texts("logged")
            }
            "test_error_handling" => CallToolResult::error(vec![ContentBlock::text(
                "This tool intentionally returns an error for testing",
            )])
            .into(),
            "test_tool_with_progress" => {
                for done in [0.0, 50.0, 100.0] {
                    if let Some(token) = context.meta.get_progress_token() {
                        let progress =
                            ProgressNotificationParam::new(token, done).with_total(100.0);
                        let _ = context.peer.notify_progress(progress).await;
                    }
                    pause().await;
                }
                texts("done")
            }
            "test_custom_header" => texts(argument("region")),
            "json_schema_2020_12_tool" => texts("valid"),
            "test_sampling" => {
                let asked = sample(&argument("prompt"), 100);
                let asked: CreateMessageRequestParams = read(asked["params"].clone());
                let answer = context
                    .peer
                    .create_message(asked)
                    .await
                    .map_err(client_error)?;
                texts(format!("LLM response: {}", json!(answer.message.content)))
            }
            "test_elicitation" => {
                let schema = json!({
                    "type": "object",
                    "properties": {
                        "username": {"type": "string", "description": "User's response"},
                        "email": {"type": "string", "description": "User's email address"},
                    },
                    "required": ["username", "email"],
                });
                elicit(context, &argument("message"), schema, "User response").await?
            }
            "test_elicitation_sep1034_defaults" => {
                let schema = json!({"type": "object", "properties": {
                    "name": {"type": "string", "default": "John Doe"},
                    "age": {"type": "integer", "default": 30},
                    "score": {"type": "number", "default": 95.5},
                    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
                    "verified": {"type": "boolean", "default": true},
                }});
                elicit(
                    context,
                    "Please check these values",
                    schema,
                    "Elicitation completed",
                )
                .await?
            }
            "test_elicitation_sep1330_enums" => {
                let titled = |prefix: &str, title: &str| -> Vec<Value> {
                    ["First", "Second", "Third"]
                        .iter()
                        .enumerate()
                        .map(|(n, word)| json!({"const": format!("{prefix}{}", n + 1), "title": format!("{word} {title}")}))
                        .collect()
                };
                let options = json!(["option1", "option2", "option3"]);
                let schema = json!({"type": "object", "properties": {
                    "untitledSingle": {"type": "string", "enum": options},
                    "titledSingle": {"type": "string", "oneOf": titled("value", "Option")},
                    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]},
                    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
                    "titledMulti": {"type": "array", "items": {"anyOf": titled("value", "Choice")}},
                }});
                elicit(context, "Please choose", schema, "Elicitation completed").await?
            }
            "test_missing_capability" => {
                let capabilities = context.client_capabilities();
                if capabilities.is_none_or(|known| known.sampling.is_none()) {
                    let needed: ClientCapabilities = read(json!({"sampling": {}}));
                    return Err(ErrorData::missing_required_client_capability(needed));
                }
                texts("the client can sample")
            }
            "test_streaming_elicitation" | "test_input_required_result_elicitation" => {
                match accepted_value(responses, "user_name", "/content/name")
                    .and_then(|name| name.as_str().map(str::to_owned))
                {
                    Some(name) => texts(format!("Hello, {name}!")),
                    None => CallToolResponse::InputRequired(input_required(
                        json!({"user_name": form("What is your name?", "name", "string")}),
                        None,
                    )),
                }
            }
            "test_input_required_result_sampling" => {
                match accepted_value(responses, "capital_question", "/content") {
                    Some(answer) => texts(format!("The model says: {answer}")),
                    None => CallToolResponse::InputRequired(input_required(
                        json!({"capital_question": sample("What is the capital of France?", 100)}),
                        None,
                    )),
                }
            }
            "test_input_required_result_list_roots" => {
                match accepted_value(responses, "client_roots", "/roots") {
                    Some(roots) => texts(format!("The roots are: {roots}")),
                    None => CallToolResponse::InputRequired(input_required(
                        json!({"client_roots": roots()}),
                        None,
                    )),
                }
            }
            "test_input_required_result_request_state"
            | "test_input_required_result_tampered_state" => {
                match (
                    accepted_value(responses, "confirm", "/content"),
                    state.as_deref(),
                ) {
                    (Some(_), Some("confirming")) => texts("state-ok"),
                    _ => CallToolResponse::InputRequired(input_required(
                        json!({"confirm": form("Please confirm", "ok", "boolean")}),
                        Some(signed_state("confirming")),
                    )),
                }
            }
            "test_input_required_result_multiple_inputs" => {
                let all = ["user_name", "greeting", "client_roots"];
                let answered = all
                    .iter()
                    .all(|key| accepted_value(responses, key, "").is_some());
                if answered && state.as_deref() == Some("three") {
                    texts("All three were answered.")
                } else {
                    CallToolResponse::InputRequired(input_required(
                        json!({
                            "user_name": form("What is your name?", "name", "string"),
                            "greeting": sample("Generate a greeting", 50),
                            "client_roots": roots(),
                        }),
                        Some(signed_state("three")),
                    ))
                }
            }
            "test_input_required_result_multi_round" => {
                let name = accepted_value(responses, "step1", "/content/name");
                let colour = accepted_value(responses, "step2", "/content/color");
                match (state.as_deref(), name, colour) {
                    (Some("round 1"), Some(_), _) => {
                        CallToolResponse::InputRequired(input_required(
                            json!({"step2": form("Step 2: What is your favorite color?", "color", "string")}),
                            Some(signed_state("round 2")),
                        ))
                    }
                    (Some("round 2"), _, Some(colour)) => {
                        texts(format!("Both steps are done: {colour}"))
                    }
                    _ => CallToolResponse::InputRequired(input_required(
                        json!({"step1": form("Step 1: What is your name?", "name", "string")}),
                        Some(signed_state("round 1")),
                    )),
                }
            }
            "test_input_required_result_capabilities" => {
                let capabilities = context.client_capabilities().unwrap_or_default();
                let mut requests = json!({});
                if capabilities.elicitation.is_some() {
                    requests["user_name"] = form("What is your name?", "name", "string");
                }
                if capabilities.sampling.is_some() {
                    requests["greeting"] = sample("Generate a greeting", 50);
                }
                if capabilities.roots.is_some() {
                    requests["client_roots"] = roots();
                }
                CallToolResponse::InputRequired(input_required(requests, None))
            }
            other => {
                return Err(ErrorData::invalid_params(
                    format!("no fixture `{other}`"),
                    None,
                ));
            }
        })
    }

    fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
        let argument = |name: &str| -> Result<String, ErrorData> {
            let arguments = request.arguments.as_ref();
            let value = arguments.and_then(|arguments| arguments.get(name)?.as_str());
            value.map(str::to_owned).ok_or_else(|| {
                ErrorData::invalid_params(format!("the argument `{name}` is missing"), None)
            })
        };
        let messages = match request.name.as_str() {
            "test_simple_prompt" => {
                json!([{"type": "text", "text": "This is a simple prompt for testing."}])
            }
            "test_prompt_with_arguments" => json!([{"type": "text", "text": format!(
                "Prompt with arguments: arg1='{}', arg2='{}'", argument("arg1")?, argument("arg2")?
            )}]),
            "test_prompt_with_embedded_resource" => json!([
                {"type": "resource", "resource": {
                    "uri": argument("resourceUri")?, "mimeType": "text/plain", "text": "Embedded resource content for testing.",
                }},
                {"type": "text", "text": "Please process the embedded resource above."},
            ]),
            "test_prompt_with_image" => json!([
                {"type": "image", "data": IMAGE, "mimeType": "image/png"},
                {"type": "text", "text": "Please analyze the image above."},
            ]),
            _ => {
                let responses = request.input_responses.as_ref();
                match accepted_value(responses, "user_context", "/content/context") {
                    Some(context) => {
                        json!([{"type": "text", "text": format!("The context is {context}.")}])
                    }
                    None => {
                        let question =
                            form("What context should the prompt use?", "context", "string");
                        let asked = input_required(json!({"user_context": question}), None);
                        return Ok(GetPromptResponse::InputRequired(asked));
                    }
                }
            }
        };
        let messages: Vec<Value> = messages
            .as_array()
            .into_iter()
            .flatten()
            .map(|content| json!({"role": "user", "content": content}))
            .collect();
        Ok(GetPromptResult::new(read(json!(messages))).into())
    }
}

/// Sends a log message to clients that enabled logging.
async fn log(context: &RequestContext<RoleServer>, line: &str) {
    let modern = context
        .protocol_version()
        .is_some_and(|version| !version.has_initialize());
    if modern && context.meta.log_level().is_none() {
        return;
    }
    let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
    let _ = context.peer.notify_logging_message(message).await;
}

fn client_error(error: rmcp::ServiceError) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

async fn elicit(
    context: &RequestContext<RoleServer>,
    message: &str,
    schema: Value,
    said: &str,
) -> Result<CallToolResponse, ErrorData> {
    let asked: ElicitRequestParams =
        read(json!({"mode": "form", "message": message, "requestedSchema": schema}));
    let answer = context
        .peer
        .create_elicitation(asked)
        .await
        .map_err(client_error)?;
    let (action, content) = (json!(answer.action), json!(answer.content));
    Ok(texts(format!(
        "{said}: action={}, content={content}",
        action.as_str().unwrap_or_default()
    )))
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.0.get_info();
        info.capabilities.logging = Some(read(json!({})));
        info
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = self.0.list_tools(request, context).await?;
        list.tools.extend(TOOLS.iter().cloned());
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let fixture = TOOLS.iter().find(|tool| tool.name == name);
        fixture.cloned().or_else(|| self.0.get_tool(name))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if TOOLS.iter().any(|tool| tool.name == request.name) {
            return self.fixture(request, &context).await;
        }
        self.0.call_tool(request, context).await
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let mut list = self.0.list_prompts(request, context).await?;
        list.prompts.extend(PROMPTS.iter().cloned());
        Ok(list)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if PROMPTS.iter().any(|prompt| prompt.name == request.name) {
            return Self::prompt(&request);
        }
        self.0.get_prompt(request, context).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut list = self.0.list_resources(request, context).await?;
        for name in ["static-text", "static-binary"] {
            list.resources
                .push(Resource::new(format!("test://{name}"), name));
        }
        Ok(list)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut list = self.0.list_resource_templates(request, context).await?;
        list.resource_templates.push(ResourceTemplate::new(
            "test://template/{id}/data",
            "template",
        ));
        Ok(list)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let contents = match uri {
            "test://static-text" => {
                json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
            }
            "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": IMAGE}),
            _ => {
                let id = uri
                    .strip_prefix("test://template/")
                    .and_then(|rest| rest.strip_suffix("/data"));
                let Some(id) = id else {
                    return self.0.read_resource(request, context).await;
                };
                let text =
                    json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")})
                        .to_string();
                json!({"uri": uri, "mimeType": "application/json", "text": text})
            }
        };
        Ok(ReadResourceResult::new(vec![read(contents)]).into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let fixture = match &request.r#ref {
            Reference::Prompt(prompt) => prompt.name.starts_with("test_"),
            Reference::Resource(resource) => resource.uri.starts_with("test://"),
            _ => false,
        };
        if fixture {
            return Ok(CompleteResult::new(CompletionInfo::default()));
        }
        self.0.complete(request, context).await
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let modern = context
            .protocol_version()
            .is_some_and(|version| !version.has_initialize());
        if modern {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        match self.1.get_task(&request.task_id) {
            Ok(task) => Ok(GetTaskResult::new(task)),
            Err(_) => self.0.get_task(request, context).await,
        }
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if self.1.get_task(&request.task_id).is_err() {
            return self.0.update_task(request, context).await;
        }
        self.1
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if self.1.get_task(&request.task_id).is_err() {
            return self.0.cancel_task(request, context).await;
        }
        self.1.cancel_task(&request.task_id)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        self.0.on_custom_request(request, context).await
    }
}
