//! Chunks as Fluent Bit hands them to an output: consecutive Forward v2 events, `[[time, metadata], body]`.

use rmpv::Value;

/// 2026-01-02T03:04:05.006007008Z, the time of events whose time does not matter.
pub const SOME_TIME: (u32, u32) = (1_767_323_045, 6_007_008);

/// A chunk of one event per body, all at [`SOME_TIME`].
pub fn chunk(bodies: &[Value]) -> Vec<u8> {
    bodies.iter().flat_map(|body| event(SOME_TIME, body)).collect()
}

/// One event. `time` is seconds and nanoseconds, encoded as Fluent Bit's EventTime (ext type 0, 8 bytes).
pub fn event((seconds, nanoseconds): (u32, u32), body: &Value) -> Vec<u8> {
    let time = [seconds.to_be_bytes(), nanoseconds.to_be_bytes()].concat();
    let header = Value::Array(vec![Value::Ext(0, time), Value::Map(Vec::new())]);
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &Value::Array(vec![header, body.clone()]))
        .expect("writing into memory cannot fail");
    bytes
}

/// A map with text keys, in this order.
pub fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect())
}
