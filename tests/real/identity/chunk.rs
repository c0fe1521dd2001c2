//! A chunk of one record.

use rmpv::Value;

/// `[[0, {}], {"log": text}]` in msgpack.
pub fn chunk(text: &str) -> Vec<u8> {
    let header = Value::Array(vec![Value::from(0), Value::Map(Vec::new())]);
    let body = Value::Map(vec![(Value::from("log"), Value::from(text))]);
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &Value::Array(vec![header, body])).expect("writing into memory cannot fail");
    bytes
}
