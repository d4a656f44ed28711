//! One call of the API, as the reference tells it.

use serde_json::{Map, Value, json};

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Anyone.
    Anyone,
    /// The owner.
    Owner,
    /// The owner, or the device with whichever of its credentials.
    OwnerOrDevice,
    /// The owner, or the device by a trusted key.
    OwnerOrKey,
    /// The device by a trusted key.
    Key,
    /// The owner, or who has a one-time code.
    OwnerOrCode,
}

/// A member of the query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// What it means, for a person.
    pub(super) about: &'static str,
    /// Its JSON schema, as text.
    pub(super) schema: &'static str,
}

/// What is sent along.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body {
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of this schema, which may be left out.
    OptionalJson(&'static str),
    /// A merge patch (RFC 7396) of this schema.
    MergePatch(&'static str),
    /// A form of this schema.
    Form(&'static str),
}

/// What comes back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Nothing.
    Empty,
    /// JSON of this schema.
    One(&'static str),
    /// A list of it.
    List(&'static str),
    /// A page for a browser.
    Page,
}

/// A status that is no refusal, with its body.
pub(super) type Answer = (u16, &'static str, Shape);

/// One call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) method: &'static str,
    /// Further methods that do the same.
    pub(super) also: &'static [&'static str],
    pub(super) path: &'static str,
    /// What it does, for a person: a clause without a full stop.
    pub(super) about: &'static str,
    pub(super) by: By,
    pub(super) query: &'static [Parameter],
    pub(super) body: Option<Body>,
    pub(super) answers: &'static [Answer],
    /// The shape of refusals.
    pub(super) refusal: Refusal,
}

/// A call of the owner's with none of the rarer parts, to be completed.
pub(super) const PLAIN: Call = Call {
    method: "GET",
    also: &[],
    path: "",
    about: "",
    by: By::Owner,
    query: &[],
    body: None,
    answers: &[],
    refusal: Refusal::Problem,
};

/// How a call says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// RFC 6749 §5.2.
    Oauth,
    /// A page that says what is wrong, and what to do.
    Page,
}

/// A group of calls under one heading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) calls: &'static [Call],
}

impl By {
    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Owner => "owner",
            Self::OwnerOrDevice => "owner, device",
            Self::OwnerOrKey => "owner, device by key",
            Self::Key => "device by key",
            Self::OwnerOrCode => "owner, or with a one-time code",
        }
    }

    fn security(self) -> Value {
        let (basic, bearer, nobody) = (json!({"basic": []}), json!({"bearer": []}), json!({}));
        match self {
            Self::Anyone => json!([nobody]),
            Self::Key => json!([bearer]),
            Self::Owner | Self::OwnerOrDevice | Self::OwnerOrKey => json!([basic, bearer]),
            Self::OwnerOrCode => json!([basic, bearer, nobody]),
        }
    }
}

impl Call {
    /// The names in braces of the path.
    pub(super) fn path_names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
    }

    /// The methods, each with its operation object of `OpenAPI` 3.1.
    pub(super) fn operations(&self, tag: &str) -> impl Iterator<Item = (String, Value)> {
        let methods = std::iter::once(&self.method).chain(self.also);
        methods.map(move |method| (method.to_lowercase(), self.operation(method, tag)))
    }

    fn operation(&self, method: &str, tag: &str) -> Value {
        let mut operation = json!({
            "tags": [tag],
            "summary": self.about,
            "operationId": self.id(method),
            "security": self.by.security(),
            "responses": self.responses(),
        });
        let parameters: Vec<Value> =
            self.path_names().map(path_parameter).chain(self.query.iter().map(Parameter::object)).collect();
        if let Some(members) = operation.as_object_mut() {
            if !parameters.is_empty() {
                members.insert("parameters".to_owned(), parameters.into());
            }
            if let Some(body) = self.body {
                members.insert("requestBody".to_owned(), body.object());
            }
        }
        operation
    }

    /// `get_api_devices_device`: the method and the path's words.
    fn id(&self, method: &str) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<&str> = std::iter::once(method).chain(words).collect();
        words.join("_").to_lowercase()
    }

    fn responses(&self) -> Value {
        let mut responses: Map<String, Value> =
            self.answers.iter().map(|answer| (answer.0.to_string(), response(answer))).collect();
        let (about, media_type, schema) = match self.refusal {
            Refusal::Problem => ("Refused (RFC 9457)", "application/problem+json", "Problem"),
            Refusal::Oauth => ("Refused (RFC 6749 §5.2)", "application/json", "OauthError"),
            Refusal::Page => ("A page that says what is wrong", "text/html", "Page"),
        };
        let refused = json!({"description": about, "content": {media_type: {"schema": reference(schema)}}});
        responses.insert("default".to_owned(), refused);
        Value::Object(responses)
    }
}

impl Parameter {
    fn object(&self) -> Value {
        let schema: Value = serde_json::from_str(self.schema).unwrap_or_default();
        json!({"name": self.name, "in": "query", "description": self.about, "schema": schema})
    }
}

impl Body {
    /// The schema's name.
    pub(super) fn schema(self) -> &'static str {
        match self {
            Self::Json(schema)
            | Self::OptionalJson(schema)
            | Self::MergePatch(schema)
            | Self::Form(schema) => schema,
        }
    }

    /// The media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json(_) | Self::OptionalJson(_) => "application/json",
            Self::MergePatch(_) => "application/merge-patch+json",
            Self::Form(_) => "application/x-www-form-urlencoded",
        }
    }

    fn object(self) -> Value {
        let required = !matches!(self, Self::OptionalJson(_));
        json!({"required": required, "content": {self.media_type(): {"schema": reference(self.schema())}}})
    }
}

impl Shape {
    /// The schema's name.
    pub(super) fn schema(self) -> Option<&'static str> {
        match self {
            Self::Empty | Self::Page => None,
            Self::One(schema) | Self::List(schema) => Some(schema),
        }
    }
}

fn response((_, about, shape): &Answer) -> Value {
    let schema = match shape {
        Shape::Empty => return json!({ "description": about }),
        Shape::Page => {
            return json!({"description": about, "content": {"text/html": {"schema": reference("Page")}}});
        }
        Shape::One(schema) => reference(schema),
        Shape::List(schema) => json!({"type": "array", "items": reference(schema)}),
    };
    json!({"description": about, "content": {"application/json": {"schema": schema}}})
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": reference(&format!("path_{name}"))})
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
