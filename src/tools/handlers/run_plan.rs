//! The request of a `run`, from its arguments.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::store::uploads;
use crate::tools::{Context, ToolError, params};
use crate::{Client, ImageRef, types};

/// The request and options that the arguments specify.
pub(super) struct RunPlan {
    /// The request, without the files of a directory state and the limit of recorded output.
    pub(super) request: types::InstanceSpawnRequest,
    /// Whether to wait for the end.
    pub(super) wait: bool,
    /// Bytes of each stream in the answer.
    pub(super) output_limit: u64,
    /// Id of the directory state to place.
    pub(super) state: Option<i64>,
}

/// Checks the arguments, and builds the request.
pub(super) fn plan(arguments: params::Run) -> Result<RunPlan, ToolError> {
    let params::Run {
        command,
        image,
        shell,
        env,
        preserve_env,
        cwd,
        uid,
        gid,
        timeout,
        disposable,
        stdin,
        stdin_open,
        files: uploaded,
        directory_state_id,
        wait,
        truncate_output_at,
        max_layer_bytes,
        network,
        allow_hosts,
        memory_mb,
        cpus,
        processes,
        ports,
    } = arguments;
    if stdin_open && wait {
        return Err(ToolError::invalid(
            "`stdin_open` needs wait=false: nothing can write to the command while a call waits for it",
        ));
    }
    let has_network = matches!(network, params::RunNetwork::Default);
    if !has_network && !allow_hosts.is_empty() {
        return Err(ToolError::invalid(
            "`allow_hosts` and network=\"none\" exclude each other; leave one of them out",
        ));
    }
    let image: ImageRef = image.parse()?;
    let mut files = BTreeMap::new();
    for (path, uuid) in uploaded {
        let uuid: Uuid = uuid.parse().map_err(|_| {
            ToolError::invalid(format!(
                "`files`: `{uuid}` is not the UUID of an uploaded file"
            ))
            .with_hint("call `upload` and pass the UUID that it returns")
        })?;
        files.insert(
            path,
            types::InstanceFile {
                uuid: Some(uuid),
                gid: None,
                mode: None,
                uid: None,
                x_kind: None,
                x_target: None,
            },
        );
    }
    let stdin = stdin
        .or(stdin_open.then(String::new))
        .map(|text| types::ClosableStreamRepr {
            close: Some(!stdin_open),
            encoding: Some(types::StreamEncoding::Base64),
            value: base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text),
        });
    let has_limits = memory_mb.is_some() || cpus.is_some() || processes.is_some();
    let engine_limits = has_limits.then(|| types::EngineLimits {
        memory_bytes: memory_mb.map(|mebibytes| mebibytes.saturating_mul(1 << 20)),
        cpus,
        processes,
    });
    let limits = max_layer_bytes.map(|bytes| types::InstanceResourcesLimits {
        max_layer_bytes: Some(bytes),
    });
    let request = types::InstanceSpawnRequest {
        args: Vec::new(),
        command,
        cwd: Some(cwd).filter(|cwd| !cwd.is_empty()),
        disposable: Some(disposable),
        env: Some(env.into_iter().collect::<BTreeMap<_, _>>()).filter(|env| !env.is_empty()),
        files,
        gid: Some(gid),
        hostname: None,
        image,
        networking: (!has_network).then_some(types::InstanceNetworking {
            enabled: Some(false),
        }),
        preserve_cwd: None,
        preserve_env: Some(preserve_env),
        resources_limits: limits,
        shell: Some(shell),
        stdin,
        timeout: i64::try_from(timeout).ok(),
        truncate_output_at: None,
        uid: Some(uid),
        x_limits: engine_limits,
        x_network: (!allow_hosts.is_empty()).then_some(types::RunNetwork { allow_hosts }),
        x_detached: None,
        x_ports: ports,
        x_terminal: None,
    };
    Ok(RunPlan {
        request,
        wait,
        output_limit: truncate_output_at,
        // No state has a larger id.
        state: directory_state_id.map(|id| i64::try_from(id).unwrap_or(i64::MAX)),
    })
}

/// Checks that the backend has the extensions that the request needs. Marks a run that is left on
/// purpose, if the backend distinguishes it from one whose client is gone.
pub(super) async fn use_extensions(
    request: &mut types::InstanceSpawnRequest,
    wait: bool,
    client: &Client,
) -> Result<(), ToolError> {
    if request.x_limits.is_some() && !client.has_extension("limits").await? {
        return Err(ToolError::invalid(
            "this service cannot limit memory, processors or processes of one run; leave `memory_mb`, `cpus` and `processes` out",
        ));
    }
    if request.x_network.is_some() && !client.has_extension("network").await? {
        return Err(ToolError::invalid(
            "this service cannot limit the hosts of one run; leave `allow_hosts` out, or use network=\"none\"",
        ));
    }
    if !wait && client.has_extension("live").await? {
        request.x_detached = Some(true);
    }
    Ok(())
}

/// Sets mode 0755 for files that were uploaded from executable paths.
pub(super) async fn mark_executables(
    request: &mut types::InstanceSpawnRequest,
    client: &Client,
    cx: &Context,
) {
    let uuids: Vec<String> = request
        .files
        .values()
        .filter_map(|file| file.uuid.map(|uuid| uuid.to_string()))
        .collect();
    if uuids.is_empty() {
        return;
    }
    let backend = client.backend().identity();
    let known = cx.session().store().read(move |c| {
        let mut executable = std::collections::BTreeSet::new();
        for uuid in uuids {
            if uploads::is_executable(c, &backend, &uuid)? {
                executable.insert(uuid);
            }
        }
        Ok(executable)
    });
    let executable = known.await.unwrap_or_else(|error| {
        tracing::warn!("cannot find out which uploaded files are executable: {error}");
        std::collections::BTreeSet::new()
    });
    for file in request.files.values_mut() {
        let uuid = file.uuid.map(|uuid| uuid.to_string()).unwrap_or_default();
        if executable.contains(&uuid) {
            file.mode = Some("0755".to_owned());
        }
    }
}
