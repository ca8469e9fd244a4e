//! HTTP/1.1 (RFC 9110, RFC 9112) as far as a server of a few pages needs it: bytes in, requests out; responses in,
//! bytes out. This module makes no I/O and uses a clock only for the Date header, so every case can be tested byte by
//! byte.
//!
//! HTTP says that a minor version above 1 is answered as 1.1. `httparse` does not accept one, so it is a 505 here.

use std::time::SystemTime;

use httparse::{EMPTY_HEADER, Error};

/// The longest request target that is accepted, in bytes.
pub const LONGEST_TARGET: usize = 4 * 1024;
/// The longest request line and header section together, in bytes.
pub const LONGEST_HEAD: usize = 16 * 1024;
/// The most header fields.
pub const MOST_FIELDS: usize = 64;
/// The longest body. The server does not use it, but reads it, because the next request follows it.
pub const LONGEST_BODY: usize = 64 * 1024;

/// A request that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The target's path, without its query.
    pub path: String,
    /// HEAD: the same answer as for GET, without its body.
    pub head: bool,
    /// Whether the client wants to keep the connection after this request.
    pub keep_alive: bool,
}

/// A response's status (RFC 9110, 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is named as there
pub enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    LengthRequired,
    ContentTooLarge,
    UriTooLong,
    ExpectationFailed,
    RequestHeaderFieldsTooLarge,
    InternalServerError,
    NotImplemented,
    ServiceUnavailable,
    HttpVersionNotSupported,
}

impl Status {
    /// Its number and its name.
    pub fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::LengthRequired => "411 Length Required",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::ExpectationFailed => "417 Expectation Failed",
            Status::RequestHeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Status::InternalServerError => "500 Internal Server Error",
            Status::NotImplemented => "501 Not Implemented",
            Status::ServiceUnavailable => "503 Service Unavailable",
            Status::HttpVersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// A header field that goes with it.
    fn field(self) -> &'static str {
        match self {
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            Status::ServiceUnavailable => "Retry-After: 1\r\n",
            _ => "",
        }
    }
}

/// What is sent back.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: Status,
    /// The media type of its body.
    pub media_type: &'static str,
    /// Its body.
    pub body: Vec<u8>,
}

impl Response {
    /// A line of text.
    pub fn text(status: Status, text: impl Into<String>) -> Self {
        let body = (text.into() + "\n").into_bytes();
        Response { status, media_type: "text/plain; charset=utf-8", body }
    }

    /// A response that says only its status.
    pub fn error(status: Status) -> Self {
        Self::text(status, status.line())
    }

    /// The bytes to send. With `head` the body is left out, but its length is still given.
    pub fn encode(&self, head: bool, keep_alive: bool) -> Vec<u8> {
        let Response { status, media_type, body } = self;
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nDate: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}Connection: {}\r\n\r\n",
            status.line(),
            httpdate::fmt_http_date(SystemTime::now()),
            body.len(),
            status.field(),
            if keep_alive { "keep-alive" } else { "close" },
        )
        .into_bytes();
        if !head {
            bytes.extend_from_slice(body);
        }
        bytes
    }
}

/// Returns the first request of `input` and its length in bytes, or none if it is not complete yet.
///
/// # Errors
/// Returns the status to answer with, if `input` is not a request or not one that this server serves. It is then
/// unknown where the next request begins, so the connection has to be closed after the answer.
pub fn parse(input: &[u8]) -> Result<Option<(Request, usize)>, Status> {
    let mut fields = [EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let head = match request.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return too_long(input).map(|()| None),
        Err(Error::TooManyHeaders) => return Err(Status::RequestHeaderFieldsTooLarge),
        Err(Error::Version) => return Err(Status::HttpVersionNotSupported),
        Err(_) => return Err(Status::BadRequest),
    };
    too_long(&input[..head])?;
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Status::BadRequest);
    };

    let field = |name: &'static str| {
        let fields = request.headers.iter();
        fields.filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    };
    // At most one Host, and in HTTP/1.1 exactly one (RFC 9112, 3.2).
    let hosts = field("host").count();
    if hosts > 1 || (version == 1 && hosts == 0) || field("host").any(is_no_host) {
        return Err(Status::BadRequest);
    }
    let body = body_length(field("content-length"), field("transfer-encoding").next().is_some())?;
    match method {
        "GET" | "HEAD" => {}
        "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => {
            return Err(Status::MethodNotAllowed);
        }
        _ => return Err(Status::NotImplemented),
    }
    if input.len() < head + body {
        // The client waits for permission to send the body, and the server waits for the body (RFC 9110, 10.1.1). This
        // server does not want it.
        let asks_leave = field("expect").any(|value| value.eq_ignore_ascii_case(b"100-continue"));
        return if asks_leave && version == 1 { Err(Status::ExpectationFailed) } else { Ok(None) };
    }
    let says = |option: &str| {
        let options = field("connection").flat_map(|value| value.split(|&byte| byte == b','));
        options.into_iter().any(|o| o.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    };
    let request = Request {
        path: path(target).to_owned(),
        head: method == "HEAD",
        keep_alive: !says("close") && (version == 1 || says("keep-alive")),
    };
    Ok(Some((request, head + body)))
}

/// Fails if this head, complete or not, is longer than the server accepts.
fn too_long(head: &[u8]) -> Result<(), Status> {
    let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    // The method and the version are a few bytes. Only the target can be long.
    if line > LONGEST_TARGET + 32 {
        Err(Status::UriTooLong)
    } else if head.len() > LONGEST_HEAD {
        Err(Status::RequestHeaderFieldsTooLarge)
    } else {
        Ok(())
    }
}

/// How many bytes follow the head (RFC 9112, 6.3).
fn body_length<'a>(
    mut lengths: impl Iterator<Item = &'a [u8]>,
    transfer_encoding: bool,
) -> Result<usize, Status> {
    let Some(length) = lengths.next() else {
        return if transfer_encoding { Err(Status::LengthRequired) } else { Ok(0) };
    };
    // If the request gives two different ends of its body, it is an attack (request smuggling) or may serve as one.
    if transfer_encoding || lengths.any(|other| other != length) {
        return Err(Status::BadRequest);
    }
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(Status::BadRequest);
    }
    let length = str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
    length.filter(|&length| length <= LONGEST_BODY).ok_or(Status::ContentTooLarge)
}

/// Whether this cannot be the value of a Host field.
fn is_no_host(value: &[u8]) -> bool {
    value.iter().any(|byte| matches!(byte, b' ' | b'\t' | b',' | b'/'))
}

/// Whether the input so far, valid or not, begins as a HEAD request: its answer has no body.
pub fn is_head(input: &[u8]) -> bool {
    input.trim_ascii_start().starts_with(b"HEAD ")
}

/// The path of a target in origin form, `/path?query`, or in absolute form, `http://host/path?query` (RFC 9112, 3.2).
fn path(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').map_or("/", |start| &rest[start..])
        }
        _ => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, head: bool, keep_alive: bool) -> Request {
        Request { path: path.to_owned(), head, keep_alive }
    }

    /// The result of `parse`. Every shorter part of the input must give "not complete" or the same error.
    fn parsed(input: &[u8]) -> Result<Option<(Request, usize)>, Status> {
        let whole = parse(input);
        let end = match &whole {
            Ok(Some((_, length))) => *length,
            _ => input.len(),
        };
        for length in 0..end {
            match parse(&input[..length]) {
                Ok(None) => {}
                Err(status) => assert_eq!(Err(status), whole, "after {length} bytes"),
                Ok(Some(early)) => panic!("after {length} bytes: {early:?}"),
            }
        }
        whole
    }

    #[test]
    fn requests() {
        let cases: [(&[u8], Request); 12] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", request("/", false, true)),
            (b"HEAD /x?y=1#z HTTP/1.1\r\nHost: a\r\n\r\n", request("/x", true, true)),
            (b"GET http://a:80/b HTTP/1.1\r\nHost: a\r\n\r\n", request("/b", false, true)),
            (b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", request("/", false, true)),
            (b"GET / HTTP/1.1\r\nHOST: a\r\nConnection: Close\r\n\r\n", request("/", false, false)),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: te, close\r\n\r\n",
                request("/", false, false),
            ),
            (b"GET /a?b=http://x/c HTTP/1.0\r\n\r\n", request("/a", false, false)),
            (b"GET /a://b/c HTTP/1.0\r\n\r\n", request("/a://b/c", false, false)),
            (b"GET http://a?x=/crash HTTP/1.0\r\n\r\n", request("/", false, false)),
            (b"GET / HTTP/1.0\r\n\r\n", request("/", false, false)),
            (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", request("/", false, true)),
            (
                b"\r\nGET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                request("/", false, true),
            ),
        ];
        for (input, expected) in cases {
            let text = String::from_utf8_lossy(input);
            assert_eq!(parsed(input), Ok(Some((expected.clone(), input.len()))), "{text}");
            // The bytes that follow belong to the next request.
            let more = [input, b"GET "].concat();
            assert_eq!(parse(&more), Ok(Some((expected, input.len()))), "{text}");
        }
    }

    #[test]
    fn what_is_no_request_or_none_for_us() {
        let cases: [(&[u8], Status); 17] = [
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Status::BadRequest), // TLS
            (b"hello\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Status::HttpVersionNotSupported),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Status::MethodNotAllowed),
            (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", Status::NotImplemented),
            (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Status::BadRequest),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
                Status::ExpectationFailed,
            ),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Status::BadRequest),
            (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Status::LengthRequired),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", Status::ContentTooLarge),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", Status::ContentTooLarge),
        ];
        for (input, expected) in cases {
            assert_eq!(parsed(input), Err(expected), "{}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn too_much_is_known_before_it_has_all_come() {
        let long = "x".repeat(5000);
        let target = format!("GET /{long}");
        assert_eq!(parse(target.as_bytes()), Err(Status::UriTooLong));
        assert_eq!(
            parsed(format!("{target} HTTP/1.1\r\n\r\n").as_bytes()),
            Err(Status::UriTooLong)
        );

        let start = "GET / HTTP/1.1\r\nHost: a\r\n";
        let large = format!("{start}a: {long}\r\nb: {long}\r\nc: {long}\r\nd: {long}\r\n");
        assert_eq!(parse(large.as_bytes()), Err(Status::RequestHeaderFieldsTooLarge));
        assert_eq!(parse(&large.as_bytes()[..15_000]), Ok(None));

        let many = format!("{start}{}\r\n", "x: y\r\n".repeat(MOST_FIELDS));
        assert_eq!(parsed(many.as_bytes()), Err(Status::RequestHeaderFieldsTooLarge));
    }

    #[test]
    fn responses() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let response = Response::text(Status::Ok, "hello");
        let get = text(response.encode(false, true));
        let (head, body) = get.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "hello\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(head.contains("\r\nContent-Length: 6\r\n"));
        assert!(head.ends_with("\r\nConnection: keep-alive"));
        assert_eq!(text(response.encode(true, true)), format!("{head}\r\n\r\n"));

        let refused = text(Response::error(Status::MethodNotAllowed).encode(false, false));
        assert!(refused.contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(refused.contains("\r\nConnection: close\r\n"));
    }
}
