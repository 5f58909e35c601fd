//! Carries out the steps of test/compat/behaviours.ts with mysql_async.
use compat::*;
use mysql_async::prelude::*;
use mysql_async::{ChangeUserOpts, Conn, Error, OptsBuilder, Params, Row, SslOpts, Value};
use serde_json::{json, Value as Json};
use std::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    run::<MysqlAsync>().await
}

fn error_of(error: Error) -> Json {
    match error {
        Error::Server(server) => json!([server.code, server.state, server.message]),
        other => json!([0, "", other.to_string()]),
    }
}

fn failed(error: Error) -> Failure {
    Failure::Driver(error_of(error))
}

struct MysqlAsync;

impl Driver for MysqlAsync {
    const NAME: &'static str = "mysql_async";
    type Connection = Conn;

    async fn connect(given: &Json, step: &Json) -> Result<Conn, Failure> {
        if step["localInfile"].as_bool() == Some(true) {
            return Err(Failure::Unsupported("needs a handler of the application"));
        }
        let to = login(given, step);
        let mut options = OptsBuilder::default()
            .ip_or_hostname(to.host)
            .tcp_port(to.port)
            .user(to.user)
            .pass(to.password)
            .db_name(to.database)
            .prefer_socket(false)
            .max_allowed_packet(Some(64 << 20))
            .compression(step["compress"].as_bool().map(|_| mysql_async::Compression::default()));
        if let Some(socket) = to.socket {
            options = options.socket(Some(socket)).prefer_socket(true);
        }
        if let Some(file) = to.cafile {
            let roots = vec![std::path::PathBuf::from(file).into()];
            options = options.ssl_opts(Some(SslOpts::default().with_root_certs(roots)));
        }
        Conn::new(options).await.map_err(failed)
    }

    async fn close(connection: Conn) {
        let _: Result<(), Error> = Conn::disconnect(connection).await;
    }

    fn thread_id(connection: &Conn) -> Option<String> {
        Some(connection.id().to_string())
    }

    async fn run_step(connection: &mut Conn, step: &Json, sql: String) -> Result<Json, Failure> {
        match step["do"].as_str().unwrap() {
            "query" => {
                let mut result = connection.query_iter(sql).await.map_err(failed)?;
                let mut all = Vec::new();
                while !result.is_empty() || result.columns_ref().len() > 0 {
                    let is_set = !result.columns_ref().is_empty();
                    let rows: Vec<Row> = result.collect().await.map_err(failed)?;
                    if is_set {
                        all.push(texts(rows));
                    }
                }
                Ok(shown(all, step))
            }
            "execute" => {
                let params = Params::Positional(parameters(step).into_iter().map(value_of).collect());
                let rows: Vec<Row> = connection.exec(sql, params).await.map_err(failed)?;
                Ok(shown(vec![texts(rows)], step))
            }
            "fails" => match connection.query_drop(sql).await {
                Ok(()) => Err(Failure::Other("there was no error")),
                Err(error) => Ok(error_of(error)),
            },
            "identity" => {
                let (major, minor, patch) = connection.server_version();
                Ok(json!([connection.id().to_string(), format!("{major}.{minor}.{patch}")]))
            }
            "info" => {
                connection.query_drop(sql).await.map_err(failed)?;
                let id = connection.last_insert_id().unwrap_or(0);
                Ok(json!([connection.affected_rows().to_string(), id.to_string()]))
            }
            "interrupted" => match connection.query_first::<i64, _>(sql).await {
                Ok(Some(1)) => Ok(json!("interrupted")),
                Ok(_) => Ok(json!("not interrupted")),
                Err(Error::Server(error)) if error.code == 1317 => Ok(json!("interrupted")),
                Err(error) => Err(failed(error)),
            },
            "timeout" => {
                let started = Instant::now();
                let _ = tokio::time::timeout(limit(step), connection.query_drop(sql)).await;
                Ok(timed_out(started.elapsed() < FAR_TOO_LONG))
            }
            "reset" => match connection.reset().await.map_err(failed)? {
                true => Ok(Json::Null),
                false => Err(Failure::Other("the driver says that it has not been reset")),
            },
            "changeUser" => {
                let options = ChangeUserOpts::new()
                    .with_user(step["user"].as_str().map(String::from))
                    .with_pass(step["password"].as_str().map(String::from))
                    .with_db_name(step["database"].as_str().map(String::from));
                connection.change_user(options).await.map_err(failed)?;
                Ok(Json::Null)
            }
            _ => Err(Failure::Unsupported("no such call")),
        }
    }
}

fn value_of(parameter: Parameter) -> Value {
    match parameter {
        Parameter::Null => Value::NULL,
        Parameter::Integer(number) => Value::Int(number),
        Parameter::Text(text) => Value::Bytes(text.into_bytes()),
        Parameter::Bytes(bytes) => Value::Bytes(bytes),
    }
}

fn texts(rows: Vec<Row>) -> Vec<Vec<String>> {
    rows.into_iter().map(|row| row.unwrap().into_iter().map(show).collect()).collect()
}

fn show(value: Value) -> String {
    match value {
        Value::NULL => "NULL".into(),
        Value::Bytes(bytes) => show_bytes(bytes),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        other => other.as_sql(false),
    }
}
