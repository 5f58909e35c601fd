//! Carries out the steps of test/compat/behaviours.ts with mysql_async; a line of JSON for each behaviour.
use md5::{Digest, Md5};
use mysql_async::prelude::*;
use mysql_async::{ChangeUserOpts, Conn, Error, OptsBuilder, Params, Row, SslOpts, Value};
use serde_json::{json, Value as Json};
use std::collections::HashMap;
use std::time::{Duration, Instant};

enum Failure {
    Unsupported(&'static str),
    Driver(Error),
    Other(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Driver(error)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let given: Json = serde_json::from_str(&std::env::var("COMPAT").unwrap()).unwrap();
    println!("{}", json!({ "version": version() }));
    for behaviour in given["behaviours"].as_array().unwrap() {
        let mut line = run_behaviour(&given, behaviour["steps"].as_array().unwrap()).await;
        line["behaviour"] = behaviour["id"].clone();
        println!("{line}");
    }
    std::process::exit(0);
}

/// From the lock file, which cargo has written before it compiles.
fn version() -> &'static str {
    let (_, rest) = include_str!("../Cargo.lock").split_once("name = \"mysql_async\"\nversion = \"").unwrap();
    rest.split_once('"').unwrap().0
}

async fn run_behaviour(given: &Json, steps: &[Json]) -> Json {
    let mut connections = HashMap::new();
    let mut values = Vec::new();
    for step in steps {
        match run_step(given, &mut connections, step).await {
            Ok(value) => values.push(value),
            Err(Failure::Unsupported(reason)) => return json!({ "unsupported": reason }),
            Err(Failure::Driver(error)) => return json!({ "values": values, "error": error_of(&error) }),
            Err(Failure::Other(text)) => return json!({ "values": values, "error": [0, "", text] }),
        }
    }
    for (_, connection) in connections {
        let _: Result<(), Error> = Conn::disconnect(connection).await;
    }
    json!({ "values": values })
}

fn error_of(error: &Error) -> Json {
    match error {
        Error::Server(server) => json!([server.code, server.state, server.message]),
        other => json!([0, "", other.to_string()]),
    }
}

async fn run_step(given: &Json, connections: &mut HashMap<String, Conn>, step: &Json) -> Result<Json, Failure> {
    let name = step["on"].as_str().unwrap_or("a").to_string();
    let mut sql = step["sql"].as_str().unwrap_or("").to_string();
    if sql.contains("{big}") {
        sql = sql.replace("{big}", &repeated(&given["big"]));
    }
    if sql.contains("{threadId}") {
        sql = sql.replace("{threadId}", &connections["a"].id().to_string());
    }
    let action = step["do"].as_str().unwrap();
    match action {
        "connect" => {
            let connection = connect(given, step).await?;
            connections.insert(name, connection);
            return Ok(Json::Null);
        }
        "connectFails" => {
            return match connect(given, step).await {
                Ok(_) => Err(Failure::Other("the login was accepted")),
                Err(Failure::Driver(error)) => Ok(error_of(&error)),
                Err(other) => Err(other),
            }
        }
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(step["ms"].as_u64().unwrap())).await;
            return Ok(Json::Null);
        }
        _ => {}
    }
    let Some(connection) = connections.get_mut(&name) else {
        return Err(Failure::Unsupported("cannot"));
    };
    let digest = step["digest"].as_bool().unwrap_or(false);
    match action {
        "query" => {
            let mut result = connection.query_iter(sql).await?;
            let mut all = Vec::new();
            while !result.is_empty() || result.columns_ref().len() > 0 {
                let is_set = !result.columns_ref().is_empty();
                let rows: Vec<Row> = result.collect().await?;
                if is_set {
                    all.push(rows);
                }
            }
            Ok(shown(all, digest))
        }
        "execute" => {
            let params = step["params"].as_array().unwrap().iter().map(parameter).collect();
            let rows: Vec<Row> = connection.exec(sql, Params::Positional(params)).await?;
            Ok(shown(vec![rows], digest))
        }
        "fails" => match connection.query_drop(sql).await {
            Ok(()) => Err(Failure::Other("there was no error")),
            Err(error) => Ok(error_of(&error)),
        },
        "identity" => {
            let (major, minor, patch) = connection.server_version();
            Ok(json!([connection.id().to_string(), format!("{major}.{minor}.{patch}")]))
        }
        "info" => {
            connection.query_drop(sql).await?;
            let id = connection.last_insert_id().unwrap_or(0);
            Ok(json!([connection.affected_rows().to_string(), id.to_string()]))
        }
        "interrupted" => match connection.query_first::<i64, _>(sql).await {
            Ok(Some(1)) => Ok(json!("interrupted")),
            Ok(_) => Ok(json!("not interrupted")),
            Err(Error::Server(error)) if error.code == 1317 => Ok(json!("interrupted")),
            Err(error) => Err(error.into()),
        },
        "timeout" => {
            let started = Instant::now();
            let limit = Duration::from_millis(step["ms"].as_u64().unwrap());
            let _ = tokio::time::timeout(limit, connection.query_drop(sql)).await;
            let is_early = started.elapsed() < Duration::from_secs(8);
            Ok(json!(if is_early { "timed out" } else { "ran to its end" }))
        }
        "reset" => {
            if !connection.reset().await? {
                return Err(Failure::Other("the driver says that it has not been reset"));
            }
            Ok(Json::Null)
        }
        "changeUser" => {
            let options = ChangeUserOpts::new()
                .with_user(step["user"].as_str().map(String::from))
                .with_pass(step["password"].as_str().map(String::from))
                .with_db_name(step["database"].as_str().map(String::from));
            connection.change_user(options).await?;
            Ok(Json::Null)
        }
        _ => Err(Failure::Unsupported("no such call")),
    }
}

async fn connect(given: &Json, step: &Json) -> Result<Conn, Failure> {
    let target = &given["targets"][step["to"].as_str().unwrap_or("plain")];
    let text = |key: &str| match step.get(key) {
        Some(value) => value.as_str().map(String::from),
        None => target[key].as_str().map(String::from),
    };
    if step["localInfile"].as_bool() == Some(true) {
        return Err(Failure::Unsupported("needs a handler of the application"));
    }
    let mut options = OptsBuilder::default()
        .ip_or_hostname(target["host"].as_str().unwrap())
        .tcp_port(target["port"].as_u64().unwrap() as u16)
        .user(text("user"))
        .pass(text("password"))
        .db_name(text("database"))
        .prefer_socket(false)
        .max_allowed_packet(Some(64 << 20))
        .compression(step["compress"].as_bool().map(|_| mysql_async::Compression::default()));
    if let Some(socket) = target["socket"].as_str() {
        options = options.socket(Some(socket)).prefer_socket(true);
    }
    if let Some(file) = target["cafile"].as_str() {
        let roots = vec![std::path::PathBuf::from(file).into()];
        options = options.ssl_opts(Some(SslOpts::default().with_root_certs(roots)));
    }
    Ok(Conn::new(options).await?)
}

fn repeated(value: &Json) -> String {
    value["repeat"].as_str().unwrap().repeat(value["times"].as_u64().unwrap() as usize)
}

fn parameter(value: &Json) -> Value {
    match value {
        Json::Null => Value::NULL,
        Json::Number(number) => Value::Int(number.as_i64().unwrap()),
        Json::String(text) => Value::Bytes(text.clone().into_bytes()),
        object => match object["hex"].as_str() {
            Some(hex) => {
                let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
                Value::Bytes((0..hex.len()).step_by(2).map(byte).collect())
            }
            None => Value::Bytes(repeated(object).into_bytes()),
        },
    }
}

fn shown(all: Vec<Vec<Row>>, digest: bool) -> Json {
    let results = all.into_iter().map(|rows| {
        let texts: Vec<Vec<String>> =
            rows.into_iter().map(|row| row.unwrap().into_iter().map(show).collect()).collect();
        if !digest {
            return json!(texts);
        }
        let whole: String = texts.iter().map(|row| row.join("\t") + "\n").collect();
        json!([texts.len(), md5(whole.as_bytes())])
    });
    Json::Array(results.collect())
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn show(value: Value) -> String {
    match value {
        Value::NULL => "NULL".into(),
        Value::Bytes(bytes) if bytes.len() > 1000 => format!("{} bytes, MD5 {}", bytes.len(), md5(&bytes)),
        Value::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                error.into_bytes().iter().fold(String::from("0x"), |text, byte| text + &format!("{byte:02x}"))
            }
        },
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        other => other.as_sql(false),
    }
}
