//! Carries out the steps of test/compat/behaviours.ts with sqlx.
use compat::*;
use futures_util::TryStreamExt;
use serde_json::{json, Value as Json};
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow, MySqlSslMode};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Either, Error, MySql, Row, TypeInfo};
use std::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    run::<Sqlx>().await
}

fn error_of(error: Error) -> Json {
    match error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>()) {
        Some(server) => json!([server.number(), server.code().unwrap_or(""), server.message()]),
        None => json!([0, "", error.to_string()]),
    }
}

fn failed(error: Error) -> Failure {
    Failure::Driver(error_of(error))
}

struct Sqlx;

impl Driver for Sqlx {
    const NAME: &'static str = "sqlx";
    type Connection = MySqlConnection;

    async fn connect(given: &Json, step: &Json) -> Result<MySqlConnection, Failure> {
        for call in ["localInfile", "compress"] {
            if step[call].as_bool() == Some(true) {
                return Err(Failure::Unsupported("no such option"));
            }
        }
        let to = login(given, step);
        let mut options = MySqlConnectOptions::new().host(to.host).port(to.port).ssl_mode(MySqlSslMode::Disabled);
        if let Some(user) = to.user {
            options = options.username(user);
        }
        if let Some(password) = to.password.filter(|password| !password.is_empty()) {
            options = options.password(password);
        }
        if let Some(database) = to.database {
            options = options.database(database);
        }
        if let Some(socket) = to.socket {
            options = options.socket(socket);
        }
        if let Some(file) = to.cafile {
            options = options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(file);
        }
        options.connect().await.map_err(failed)
    }

    async fn close(connection: MySqlConnection) {
        let _ = connection.close().await;
    }

    fn thread_id(_: &MySqlConnection) -> Option<String> {
        None
    }

    async fn run_step(connection: &mut MySqlConnection, step: &Json, sql: String) -> Result<Json, Failure> {
        match step["do"].as_str().unwrap() {
            "query" => Ok(shown(query(connection, sql).await.map_err(failed)?, step)),
            "execute" => {
                let statement = parameters(step).into_iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
                let rows = statement.fetch_all(connection).await.map_err(failed)?;
                Ok(shown(vec![rows.iter().map(|row| texts(row, show_binary)).collect()], step))
            }
            "fails" => match query(connection, sql).await {
                Ok(_) => Err(Failure::Other("there was no error")),
                Err(error) => Ok(error_of(error)),
            },
            "identity" => Ok(json!([null, null])),
            "info" => {
                let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map_err(failed)?;
                Ok(json!([result.rows_affected().to_string(), result.last_insert_id().to_string()]))
            }
            "timeout" => {
                let started = Instant::now();
                let _ = tokio::time::timeout(limit(step), query(connection, sql)).await;
                Ok(timed_out(started.elapsed() < FAR_TOO_LONG))
            }
            _ => Err(Failure::Unsupported("no such call")),
        }
    }
}

/// Result sets by the text protocol. One without rows looks like a statement that has none.
async fn query(connection: &mut MySqlConnection, sql: String) -> Result<Vec<Vec<Vec<String>>>, Error> {
    let mut stream = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
    let mut all = Vec::new();
    let mut rows = Vec::new();
    while let Some(part) = stream.try_next().await? {
        match part {
            Either::Right(row) => rows.push(texts(&row, show_text)),
            Either::Left(_) if rows.is_empty() => {}
            Either::Left(_) => all.push(std::mem::take(&mut rows)),
        }
    }
    Ok(all)
}

fn bind(query: Query<'_, MySql, MySqlArguments>, parameter: Parameter) -> Query<'_, MySql, MySqlArguments> {
    match parameter {
        Parameter::Null => query.bind(None::<String>),
        Parameter::Integer(number) => query.bind(number),
        Parameter::Text(text) => query.bind(text),
        Parameter::Bytes(bytes) => query.bind(bytes),
    }
}

fn texts(row: &MySqlRow, show: fn(&MySqlRow, usize) -> Option<String>) -> Vec<String> {
    (0..row.len()).map(|i| show(row, i).unwrap_or("NULL".into())).collect()
}

fn show_text(row: &MySqlRow, i: usize) -> Option<String> {
    row.get_unchecked::<Option<Vec<u8>>, _>(i).map(show_bytes)
}

/// Numbers as such; of dates and times the bytes as they came.
fn show_binary(row: &MySqlRow, i: usize) -> Option<String> {
    match row.column(i).type_info().name() {
        "FLOAT" => row.get_unchecked::<Option<f32>, _>(i).map(|number| number.to_string()),
        "DOUBLE" => row.get_unchecked::<Option<f64>, _>(i).map(|number| number.to_string()),
        name if name.ends_with("UNSIGNED") || name == "YEAR" => {
            row.get_unchecked::<Option<u64>, _>(i).map(|number| number.to_string())
        }
        name if name.ends_with("INT") || name == "BOOLEAN" => {
            row.get_unchecked::<Option<i64>, _>(i).map(|number| number.to_string())
        }
        _ => show_text(row, i),
    }
}
