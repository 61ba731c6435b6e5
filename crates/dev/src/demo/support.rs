//! Tools, a prompt and a resource of customer support.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CallToolResult, ContentBlock, ListResourcesResult, PaginatedRequestParams, PromptMessage,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, Resource,
    ResourceContents, Role, ServerCapabilities, ServerConfig,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{
    ErrorData, ServerHandler, prompt, prompt_handler, prompt_router, tool, tool_handler,
    tool_router,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::customers;
use super::ledger::Ledger;

const HANDBOOK: &str = "support://handbook";
const HANDBOOK_TEXT: &str =
    "Be kind. Ask for the customer number. An urgent ticket wakes somebody up.";

/// The server; clones share everything.
#[derive(Debug, Clone)]
pub(super) struct SupportServer {
    ledger: Arc<Ledger>,
    tickets: Arc<AtomicU64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct CustomerArguments {
    /// Number of the customer, such as C-1001
    customer_id: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct TicketArguments {
    /// Number of the customer, such as C-1001
    customer_id: String,
    /// What it is about
    subject: String,
    /// How soon somebody shall look at it; normal unless stated
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Priority {
    Low,
    #[default]
    Normal,
    Urgent,
}

// === impl SupportServer ===

impl SupportServer {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            tickets: Arc::default(),
        }
    }

    fn note(&self, tool: &str, arguments: &impl Serialize) {
        let arguments = serde_json::to_value(arguments).unwrap_or_default();
        self.ledger.executed_tool(tool, arguments);
    }
}

#[tool_router]
impl SupportServer {
    /// Name, plan and first year of a customer
    #[tool]
    async fn get_customer_info(
        &self,
        Parameters(arguments): Parameters<CustomerArguments>,
    ) -> CallToolResult {
        self.note("get_customer_info", &arguments);
        match customers::find(&arguments.customer_id) {
            Some(customer) => CallToolResult::structured(customer.info()),
            None => unknown_customer(),
        }
    }

    /// Open a support ticket for a customer
    #[tool]
    async fn create_support_ticket(
        &self,
        Parameters(arguments): Parameters<TicketArguments>,
    ) -> CallToolResult {
        self.note("create_support_ticket", &arguments);
        let TicketArguments {
            customer_id,
            subject,
            priority,
        } = arguments;
        let Some(customer) = customers::find(&customer_id) else {
            return unknown_customer();
        };
        let number = self.tickets.fetch_add(1, Ordering::Relaxed) + 1;
        CallToolResult::structured(json!({
            "ticket_id": format!("T-{number}"),
            "customer_id": customer.id,
            "subject": subject,
            "priority": priority.unwrap_or_default(),
        }))
    }

    /// What a customer has paid so far
    #[tool]
    async fn calculate_account_value(
        &self,
        Parameters(arguments): Parameters<CustomerArguments>,
    ) -> CallToolResult {
        self.note("calculate_account_value", &arguments);
        match customers::find(&arguments.customer_id) {
            Some(customer) => CallToolResult::structured(customer.value()),
            None => unknown_customer(),
        }
    }
}

#[prompt_router]
impl SupportServer {
    /// Begin an answer to a customer
    #[prompt(name = "draft_reply")]
    async fn draft_reply(
        &self,
        Parameters(arguments): Parameters<CustomerArguments>,
    ) -> Vec<PromptMessage> {
        let CustomerArguments { customer_id } = arguments;
        let text = format!("Write a short, friendly answer to customer {customer_id}.");
        vec![PromptMessage::new_text(Role::User, text)]
    }
}

#[tool_handler]
#[prompt_handler(router = Self::prompt_router())]
impl ServerHandler for SupportServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_prompts()
            .enable_resources()
            .build();
        ServerConfig::new(capabilities)
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![
            Resource::new(HANDBOOK, "handbook")
                .with_description("How to treat customers")
                .with_mime_type("text/plain"),
        ]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri == HANDBOOK {
            let contents = vec![ResourceContents::text(HANDBOOK_TEXT, HANDBOOK)];
            return Ok(ReadResourceResult::new(contents).into());
        }
        Err(ErrorData::resource_not_found(
            "no such resource",
            Some(json!({"uri": request.uri})),
        ))
    }
}

fn unknown_customer() -> CallToolResult {
    let known: Vec<_> = customers::CUSTOMERS
        .iter()
        .map(|customer| customer.id)
        .collect();
    let text = format!("no such customer; there are {}", known.join(", "));
    CallToolResult::error(vec![ContentBlock::text(text)])
}
