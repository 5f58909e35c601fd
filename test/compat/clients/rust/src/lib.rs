//! What the programs for Rust's drivers share: the steps of test/compat/behaviours.ts, a line of JSON for each behaviour.
use md5::{Digest, Md5};
use serde_json::{json, Value as Json};
use std::collections::HashMap;
use std::time::Duration;

pub enum Failure {
    Unsupported(&'static str),
    /// [errno, SQLSTATE, message]
    Driver(Json),
    Other(&'static str),
}

pub trait Driver {
    /// the name of its crate
    const NAME: &'static str;
    type Connection;

    async fn connect(given: &Json, step: &Json) -> Result<Self::Connection, Failure>;
    async fn close(connection: Self::Connection);
    /// As the server or the driver calls it; None where the driver does not tell.
    fn thread_id(connection: &Self::Connection) -> Option<String>;
    /// Any step but connect, connectFails and sleep.
    async fn run_step(connection: &mut Self::Connection, step: &Json, sql: String) -> Result<Json, Failure>;
}

pub async fn run<D: Driver>() -> ! {
    let given: Json = serde_json::from_str(&std::env::var("COMPAT").unwrap()).unwrap();
    println!("{}", json!({ "version": version(D::NAME) }));
    for behaviour in given["behaviours"].as_array().unwrap() {
        let mut line = run_behaviour::<D>(&given, behaviour["steps"].as_array().unwrap()).await;
        line["behaviour"] = behaviour["id"].clone();
        println!("{line}");
    }
    std::process::exit(0);
}

/// From the lock file, which cargo has written before it compiles.
fn version(name: &str) -> &'static str {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = include_str!("../Cargo.lock").split_once(&entry).unwrap();
    rest.split_once('"').unwrap().0
}

async fn run_behaviour<D: Driver>(given: &Json, steps: &[Json]) -> Json {
    let mut connections = HashMap::new();
    let mut values = Vec::new();
    for step in steps {
        match run_step::<D>(given, &mut connections, step).await {
            Ok(value) => values.push(value),
            Err(Failure::Unsupported(reason)) => return json!({ "unsupported": reason }),
            Err(Failure::Driver(error)) => return json!({ "values": values, "error": error }),
            Err(Failure::Other(text)) => return json!({ "values": values, "error": [0, "", text] }),
        }
    }
    for (_, connection) in connections {
        D::close(connection).await;
    }
    json!({ "values": values })
}

async fn run_step<D: Driver>(
    given: &Json,
    connections: &mut HashMap<String, D::Connection>,
    step: &Json,
) -> Result<Json, Failure> {
    let name = step["on"].as_str().unwrap_or("a").to_string();
    match step["do"].as_str().unwrap() {
        "connect" => {
            let connection = D::connect(given, step).await?;
            connections.insert(name, connection);
            return Ok(Json::Null);
        }
        "connectFails" => {
            return match D::connect(given, step).await {
                Ok(_) => Err(Failure::Other("the login was accepted")),
                Err(Failure::Driver(error)) => Ok(error),
                Err(other) => Err(other),
            }
        }
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(step["ms"].as_u64().unwrap())).await;
            return Ok(Json::Null);
        }
        _ => {}
    }
    let mut sql = step["sql"].as_str().unwrap_or("").to_string();
    if sql.contains("{big}") {
        sql = sql.replace("{big}", &repeated(&given["big"]));
    }
    if sql.contains("{threadId}") {
        let id = D::thread_id(&connections["a"]).ok_or(Failure::Unsupported("it does not tell the thread id"))?;
        sql = sql.replace("{threadId}", &id);
    }
    match connections.get_mut(&name) {
        Some(connection) => D::run_step(connection, step, sql).await,
        None => Err(Failure::Unsupported("cannot")),
    }
}

/// Where a step connects to.
pub struct Login<'a> {
    pub host: &'a str,
    pub port: u16,
    pub socket: Option<&'a str>,
    pub cafile: Option<&'a str>,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    pub database: Option<&'a str>,
}

pub fn login<'a>(given: &'a Json, step: &'a Json) -> Login<'a> {
    let target = &given["targets"][step["to"].as_str().unwrap_or("plain")];
    let text = |key: &str| step.get(key).unwrap_or(&target[key]).as_str();
    Login {
        host: target["host"].as_str().unwrap(),
        port: target["port"].as_u64().unwrap() as u16,
        socket: target["socket"].as_str(),
        cafile: target["cafile"].as_str(),
        user: text("user"),
        password: text("password"),
        database: text("database"),
    }
}

/// A parameter of a prepared statement.
pub enum Parameter {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

pub fn parameters(step: &Json) -> Vec<Parameter> {
    step["params"].as_array().unwrap().iter().map(parameter).collect()
}

fn parameter(value: &Json) -> Parameter {
    match value {
        Json::Null => Parameter::Null,
        Json::Number(number) => Parameter::Integer(number.as_i64().unwrap()),
        Json::String(text) => Parameter::Text(text.clone()),
        object => match object["hex"].as_str() {
            Some(hex) => {
                let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
                Parameter::Bytes((0..hex.len()).step_by(2).map(byte).collect())
            }
            None => Parameter::Text(repeated(object)),
        },
    }
}

fn repeated(value: &Json) -> String {
    value["repeat"].as_str().unwrap().repeat(value["times"].as_u64().unwrap() as usize)
}

/// Result sets of rows of texts, or of each the number of rows and their MD5.
pub fn shown(all: Vec<Vec<Vec<String>>>, step: &Json) -> Json {
    let digest = step["digest"].as_bool().unwrap_or(false);
    let results = all.into_iter().map(|rows| {
        if !digest {
            return json!(rows);
        }
        let whole: String = rows.iter().map(|row| row.join("\t") + "\n").collect();
        json!([rows.len(), md5(whole.as_bytes())])
    });
    Json::Array(results.collect())
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn show_bytes(bytes: Vec<u8>) -> String {
    if bytes.len() > 1000 {
        return format!("{} bytes, MD5 {}", bytes.len(), md5(&bytes));
    }
    String::from_utf8(bytes).unwrap_or_else(|error| {
        error.into_bytes().iter().fold(String::from("0x"), |text, byte| text + &format!("{byte:02x}"))
    })
}

/// The result of a step with a limit of time of the driver's own.
pub fn timed_out(is_early: bool) -> Json {
    json!(if is_early { "timed out" } else { "ran to its end" })
}

/// A query that has taken this long has run to its end, whatever its limit.
pub const FAR_TOO_LONG: Duration = Duration::from_secs(8);

pub fn limit(step: &Json) -> Duration {
    Duration::from_millis(step["ms"].as_u64().unwrap())
}
