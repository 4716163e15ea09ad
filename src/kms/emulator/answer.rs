//! What goes back: JSON or XML, a success or a refusal in the shape of whoever refuses (reference, §1.3 and §3.1).

use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use serde_json::{Value, json};

use super::refusal::{Origin, Refusal};
use super::wire::Received;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Xml,
}

impl Format {
    /// As the request wants it: by `Format`, otherwise by `Accept`; JSON where neither says XML.
    pub(super) fn of(received: &Received) -> Format {
        let xml = match received.parameters.get("Format") {
            Some(format) => format.eq_ignore_ascii_case("xml"),
            None => matches!(received.headers.get("accept"), Some("application/xml" | "text/xml")),
        };
        if xml { Format::Xml } else { Format::Json }
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json;charset=utf-8",
            // The one spelling by which the current SDK knows XML.
            Format::Xml => "text/xml;charset=utf-8",
        }
    }
}

/// How much of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of it.
    Whole,
    /// The first half; then the connection breaks off.
    Cut,
    /// Nothing: the connection breaks off.
    Dropped,
}

/// An answer, ready to be sent. It may hold plain text, so it cannot be printed.
pub(super) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub request_id: String,
    pub body: String,
    /// How long it waits before it is sent.
    pub delay: Duration,
    pub ending: Ending,
}

impl Answer {
    /// The answer to a request that was done or refused.
    pub(super) fn new(outcome: Result<Value, Refusal>, format: Format, request_id: String, host: &str) -> Answer {
        let (status, root, mut fields) = match outcome {
            Ok(fields) => (200, "KMS", fields),
            Err(refusal) => refused(refusal, host),
        };
        fields["RequestId"] = Value::from(&*request_id);
        let body = match format {
            Format::Json => fields.to_string(),
            Format::Xml => xml(root, &fields),
        };
        Answer {
            status,
            content_type: format.content_type(),
            request_id,
            body,
            delay: Duration::ZERO,
            ending: Ending::Whole,
        }
    }

    /// No answer at all.
    pub(super) fn dropped(request_id: String) -> Answer {
        Answer {
            status: 0,
            content_type: "",
            request_id,
            body: String::new(),
            delay: Duration::ZERO,
            ending: Ending::Dropped,
        }
    }
}

fn refused(refusal: Refusal, host: &str) -> (u16, &'static str, Value) {
    let Refusal {
        code,
        status,
        message,
        origin,
    } = refusal;
    match origin {
        Origin::Kms => {
            let fields = json!({"HttpStatus": status, "Code": code, "Message": message});
            (status, "KMS", fields)
        }
        Origin::Gateway => {
            let recommend = format!("https://api.aliyun.com/troubleshoot?q={code}&product=Kms");
            let fields = json!({"HostId": host, "Code": code, "Message": message, "Recommend": recommend});
            (status, "Error", fields)
        }
    }
}

/// Fields as elements without attributes; lists as repeated elements.
fn xml(root: &str, fields: &Value) -> String {
    let mut writer = Writer::new(Vec::from(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>"));
    // Writing to a vector does not fail.
    let _ = element(&mut writer, root, fields);
    String::from_utf8(writer.into_inner()).unwrap_or_default()
}

fn element(writer: &mut Writer<Vec<u8>>, name: &str, value: &Value) -> std::io::Result<()> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| element(writer, name, item));
    }
    writer.write_event(Event::Start(BytesStart::new(name)))?;
    match value {
        Value::Object(fields) => fields
            .iter()
            .try_for_each(|(name, value)| element(writer, name, value))?,
        Value::String(text) => writer.write_event(Event::Text(BytesText::new(text)))?,
        other => writer.write_event(Event::Text(BytesText::new(&other.to_string())))?,
    }
    writer.write_event(Event::End(BytesEnd::new(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_xml_are_repeated_elements() {
        let fields = json!({"Keys": {"Key": [{"KeyId": "a<"}, {"KeyId": "b"}]}, "TotalCount": 2, "Value": true});
        let text = xml("KMS", &fields);
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><KMS><Keys><Key><KeyId>a&lt;</KeyId></Key>\
                        <Key><KeyId>b</KeyId></Key></Keys><TotalCount>2</TotalCount><Value>true</Value></KMS>";
        assert_eq!(text, expected);
    }

    #[test]
    fn shape_says_who_refuses() {
        let json = |refusal| {
            let answer = Answer::new(Err(refusal), Format::Json, "R-1".into(), "h:1");
            let fields: Value = serde_json::from_str(&answer.body).unwrap();
            (answer.status, fields)
        };
        let (status, kms) = json(Refusal::kms("Rejected.Disabled"));
        assert_eq!((status, &kms["HttpStatus"]), (409, &Value::from(409)));
        assert_eq!(kms["Code"], "Rejected.Disabled");
        assert_eq!(kms["RequestId"], "R-1");
        let (status, gateway) = json(Refusal::unsaid("Action"));
        assert_eq!((status, &gateway["HostId"]), (400, &Value::from("h:1")));
        assert!(gateway.get("HttpStatus").is_none());
    }
}
