//! What is sent of a log record of OpenTelemetry, beside what the host's own JSON has of it.

use std::io::{Read, Write};
use std::net::TcpStream;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::{expect, json_of, sent};
use crate::fluent_bit::host::Binary;
use crate::fluent_bit::metrics::free_port;
use crate::fluent_bit::stand_in::section;

const LOG: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeLogs":[{"scope":{"name":"lib"},"logRecords":[{"timeUnixNano":"1600000000123456789","severityNumber":9,"severityText":"INFO","body":{"stringValue":"order placed"},"attributes":[{"key":"order.id","value":{"intValue":"9007199254740993"}}],"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}]}]}"#;

/// Versions before 4 have no groups in JSON, and those before 3 take no logs in OpenTelemetry's JSON.
pub fn added(binary: &Binary) -> Result<(), Failed> {
    let options = ["metadata_key meta", "group_key group", "tag_key tag"];
    if binary.version < (4, 0, 0) {
        let input = ["Name dummy", "Tag app", "Samples 1", r#"Dummy {"log":"l"}"#];
        let records = sent(binary, 1, &input, "", &options, |_, _| Ok(()))?;
        return expect(json_of(&records[0])?, json!({"log": "l", "tag": "app"}));
    }
    let port = free_port()?;
    let listen = format!("Port {port}");
    let input = ["Name opentelemetry", "Listen 127.0.0.1", &listen, "Tag app", "Tag_from_uri off"];
    let own = section("OUTPUT", &[&["Name stdout", "Match app", "Format json_lines"]]);
    let mut host = Value::Null;
    let records = sent(binary, 1, &input, &own, &options, |home, fluent_bit| {
        fluent_bit.wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        post(port)?;
        let line = || home.output().lines().find(|line| line.contains("__internal__")).map(str::to_owned);
        fluent_bit.wait_until("the host wrote its own JSON", || line().is_some())?;
        host = serde_json::from_str(&line().unwrap_or_default())?;
        Ok(())
    })?;
    let mut record = json_of(&records[0])?;
    let otlp = record["meta"]["otlp"].as_object_mut().ok_or("no metadata")?;
    let ids = [otlp.remove("trace_id"), otlp.remove("span_id")].map(|id| id.unwrap_or_default());
    expect(ids, ["5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"].map(Value::from))?;
    // The host's JSON damages the bytes of ids.
    let theirs = &mut host["__internal__"]["log_metadata"]["otlp"];
    for id in ["trace_id", "span_id"] {
        theirs.as_object_mut().ok_or("no metadata in the host's JSON")?.remove(id);
    }
    let expected = json!({
        "log": host["log"],
        "tag": "app",
        "meta": host["__internal__"]["log_metadata"],
        "group": host["__internal__"]["group_attributes"],
    });
    expect(record, expected)
}

fn post(port: u16) -> Result<(), Failed> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    write!(
        connection,
        "POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{LOG}",
        LOG.len()
    )?;
    let mut reply = [0; 12];
    connection.read_exact(&mut reply)?;
    if reply.starts_with(b"HTTP/1.1 20") { Ok(()) } else { Err(String::from_utf8_lossy(&reply).into()) }
}
