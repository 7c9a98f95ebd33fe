//! Event filters: an OR of terms, each an AND of predicates that may be negated.

use sui_rpc::proto::sui::rpc::v2::{Event, EventFilter, event_literal::Predicate};
use sui_sdk_types::{Address, StructTag, TypeTag};
use tonic::Status;

use super::{invalid, parse};

/// A filter, parsed.
#[derive(Debug, Clone)]
pub(super) struct Filter(Vec<Vec<Literal>>);

#[derive(Debug, Clone)]
struct Literal {
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Sender(Address),
    /// Package, and perhaps module, of the call that emitted it.
    EmitModule(Address, Option<String>),
    EventType(Path),
}

/// A type, or the package or module that declares it.
#[derive(Debug, Clone)]
enum Path {
    Package(Address),
    Module(Address, String),
    Type(Box<StructTag>),
}

impl Filter {
    /// Parses a filter; an absent one matches everything.
    pub(super) fn parse(filter: Option<&EventFilter>) -> Result<Option<Self>, Status> {
        let Some(filter) = filter else {
            return Ok(None);
        };
        if filter.terms.is_empty() {
            return Err(invalid("filter.terms", "at least one term is needed"));
        }
        let mut terms = Vec::new();
        for term in &filter.terms {
            if term.literals.is_empty() {
                return Err(invalid(
                    "filter.terms.literals",
                    "at least one literal is needed",
                ));
            }
            let mut literals = Vec::new();
            for literal in &term.literals {
                let test = match &literal.predicate {
                    Some(Predicate::Sender(sender)) => {
                        Test::Sender(parse("sender.address", sender.address.as_deref())?)
                    }
                    Some(Predicate::EmitModule(module)) => {
                        let (package, module) = package_and_module(module.module.as_deref())?;
                        Test::EmitModule(package, module)
                    }
                    Some(Predicate::EventType(event_type)) => {
                        Test::EventType(path(event_type.event_type.as_deref())?)
                    }
                    Some(_) => {
                        return Err(Status::unimplemented(
                            "fullnode double: events are filtered by sender, module and type only",
                        ));
                    }
                    None => return Err(invalid("filter.predicate", "missing")),
                };
                literals.push(Literal {
                    negated: literal.negated,
                    test,
                });
            }
            terms.push(literals);
        }
        Ok(Some(Self(terms)))
    }

    /// Whether an event passes.
    pub(super) fn matches(&self, event: &Event) -> bool {
        self.0.iter().any(|term| {
            term.iter()
                .all(|literal| literal.test.matches(event) != literal.negated)
        })
    }
}

impl Test {
    fn matches(&self, event: &Event) -> bool {
        match self {
            Self::Sender(sender) => event.sender().parse() == Ok(*sender),
            Self::EmitModule(package, module) => {
                event.package_id().parse() == Ok(*package)
                    && module
                        .as_ref()
                        .is_none_or(|module| event.module() == module)
            }
            Self::EventType(path) => event
                .event_type()
                .parse::<StructTag>()
                .is_ok_and(|tag| path.matches(&tag)),
        }
    }
}

impl Path {
    fn matches(&self, tag: &StructTag) -> bool {
        match self {
            Self::Package(package) => tag.address() == package,
            Self::Module(package, module) => {
                tag.address() == package && tag.module().as_str() == module
            }
            Self::Type(wanted) => type_matches(wanted, tag),
        }
    }
}

/// Whether a type is the one that is asked for; one without parameters stands for all of them.
pub(super) fn type_matches(wanted: &StructTag, found: &StructTag) -> bool {
    if !wanted.type_params().is_empty() {
        return wanted == found;
    }
    (wanted.address(), wanted.module(), wanted.name())
        == (found.address(), found.module(), found.name())
}

fn package_and_module(text: Option<&str>) -> Result<(Address, Option<String>), Status> {
    let text = text.ok_or_else(|| invalid("emit_module.module", "missing"))?;
    match text.split_once("::") {
        None => Ok((parse("emit_module.module", Some(text))?, None)),
        Some((package, module)) => Ok((
            parse("emit_module.module", Some(package))?,
            Some(module.to_owned()),
        )),
    }
}

fn path(text: Option<&str>) -> Result<Path, Status> {
    const FIELD: &str = "event_type.event_type";
    let text = text.ok_or_else(|| invalid(FIELD, "missing"))?;
    match text.splitn(3, "::").collect::<Vec<_>>()[..] {
        [package] => Ok(Path::Package(parse(FIELD, Some(package))?)),
        [package, module] => Ok(Path::Module(
            parse(FIELD, Some(package))?,
            module.to_owned(),
        )),
        _ => match parse(FIELD, Some(text))? {
            TypeTag::Struct(tag) => Ok(Path::Type(tag)),
            _ => Err(invalid(FIELD, "not the type of a struct")),
        },
    }
}
