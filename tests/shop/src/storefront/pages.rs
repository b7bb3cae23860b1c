//! The HTML of the storefront.

use std::fmt::Write;

use crate::catalog::{Product, Review};
use crate::orders::Order;
use crate::probes::Readiness;
use crate::problem::Problem;
use crate::service::Service;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;\
    padding:0 1rem;color:#222}table{border-collapse:collapse;width:100%}th,td{padding:.4rem .6rem;\
    border-bottom:1px solid #ccc;text-align:left}td.price{text-align:right}label{display:block;\
    margin:.6rem 0}input{font:inherit;padding:.3rem}footer{margin-top:2rem;color:#555}";

/// Returns the list of products.
pub(super) fn home(products: &[Product], release: &str) -> String {
    let mut body = String::from(
        "<h1>Shop</h1><table id=\"products\"><thead><tr><th>Product</th><th>Price</th></tr></thead><tbody>",
    );
    for product in products {
        let (id, name) = (product.id, escape(&product.name));
        let price = euros(product.price_cents);
        let _ = write!(
            body,
            "<tr><td><a href=\"/product/{id}\">{name}</a></td><td class=\"price\">{price}</td></tr>"
        );
    }
    body.push_str("</tbody></table>");
    page("Shop", &body, release)
}

/// Returns a product with the form to buy it; `key` names the purchase. Reviews and gift notes
/// are shown when the release has them.
pub(super) fn product(
    product: &Product,
    reviews: Option<&[Review]>,
    key: &str,
    release: &str,
) -> String {
    let (name, description) = (escape(&product.name), escape(&product.description));
    let (id, price, key) = (product.id, euros(product.price_cents), escape(key));
    let mut body = format!(
        "<h1>{name}</h1><p>{description}</p><p id=\"price\">{price}</p>\
         <form method=\"post\" action=\"/buy\"><input type=\"hidden\" name=\"product_id\" value=\"{id}\">\
         <input type=\"hidden\" name=\"idempotency_key\" value=\"{key}\">\
         <label>Quantity <input name=\"quantity\" type=\"number\" min=\"1\" max=\"100\" value=\"1\"></label>\
         <label>Your name <input name=\"customer\" required maxlength=\"100\"></label>"
    );
    if reviews.is_some() {
        body.push_str("<label>Gift note <input name=\"gift_note\" maxlength=\"500\"></label>");
    }
    body.push_str("<button>Buy</button></form>");
    if let Some(reviews) = reviews {
        body.push_str("<h2>Reviews</h2><ul id=\"reviews\">");
        for review in reviews {
            let (author, text) = (escape(&review.author), escape(&review.text));
            let _ = write!(
                body,
                "<li>{text} <em>{author}, {} of 5</em></li>",
                review.stars
            );
        }
        body.push_str("</ul>");
    }
    body.push_str("<p><a href=\"/\">All products</a></p>");
    page(&name, &body, release)
}

/// Returns an order.
pub(super) fn order(order: &Order, release: &str) -> String {
    let (id, customer) = (escape(&order.id), escape(&order.customer));
    let mut body = format!(
        "<h1>Thank you, {customer}</h1><dl><dt>Order</dt><dd id=\"order-id\">{id}</dd>\
         <dt>Quantity</dt><dd>{}</dd><dt>Total</dt><dd id=\"total\">{}</dd>",
        order.quantity,
        euros(order.total_cents)
    );
    if let Some(note) = &order.gift_note {
        let _ = write!(
            body,
            "<dt>Gift note</dt><dd id=\"gift-note\">{}</dd>",
            escape(note)
        );
    }
    body.push_str("</dl><p><a href=\"/\">All products</a></p>");
    page("Order", &body, release)
}

/// Returns how the services are.
pub(super) fn health(answers: &[(Service, Result<Readiness, Problem>)], release: &str) -> String {
    let mut body = String::from(
        "<h1>Health</h1><table id=\"health\"><thead><tr><th>Service</th><th>Release</th><th>State</th>\
         <th>Checks</th></tr></thead><tbody>",
    );
    for (service, answer) in answers {
        let (release, state, checks) = match answer {
            Ok(answer) => {
                let say =
                    |check: &crate::probes::Check| format!("{}: {}", check.name, check.detail);
                let checks: Vec<_> = answer.checks.iter().map(say).collect();
                let state = if answer.ready { "ready" } else { "not ready" };
                (answer.release.as_str(), state, checks.join("; "))
            }
            Err(problem) => ("unknown", "no answer", problem.detail.clone()),
        };
        let (release, checks) = (escape(release), escape(&checks));
        let _ = write!(
            body,
            "<tr><td>{service}</td><td>{release}</td><td>{state}</td><td>{checks}</td></tr>"
        );
    }
    body.push_str("</tbody></table>");
    page("Health", &body, release)
}

/// Returns what went wrong.
pub(super) fn problem(problem: &Problem) -> String {
    let (title, detail) = (escape(&problem.title), escape(&problem.detail));
    let body = format!(
        "<h1>{title}</h1><p id=\"problem\">{detail}</p><p><a href=\"/\">All products</a></p>"
    );
    page(&title, &body, "")
}

/// Puts the frame of every page around `body`; `title` is already escaped.
fn page(title: &str, body: &str, release: &str) -> String {
    let release = escape(release);
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main>{body}</main>\
         <footer>Shop <span id=\"release\">{release}</span></footer></body></html>\n"
    )
}

fn euros(cents: i64) -> String {
    format!("{}.{:02} €", cents / 100, cents % 100)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
