//! Hosts of providers that are built in: a key may go there without a word of
//! its Secret.

use sidegate_api::provider::ProviderType;
use url::Url;

use crate::validate::consent::Destination;
use crate::validate::names;

/// Where a provider is that has one host for everybody.
pub(super) fn own(provider_type: ProviderType) -> Option<Destination> {
    https(own_name(provider_type)?)
}

/// Where Bedrock is in a region.
pub(super) fn bedrock(region: &str) -> Option<Destination> {
    if is_region(region) {
        https(&format!("bedrock-runtime.{region}.amazonaws.com"))
    } else {
        None
    }
}

/// Whether a host is the provider's own, at the port of https.
pub(super) fn is_own(provider_type: ProviderType, destination: &Destination) -> bool {
    use ProviderType::{Anthropic, AzureOpenAI, Bedrock, Cohere, Gemini, OpenAI, OpenAICompatible};

    let Some(name) = destination.https_name() else {
        return false;
    };
    match provider_type {
        OpenAI | Anthropic | Cohere | Gemini => own_name(provider_type) == Some(name),
        // The part between is checked as what it is: buckets, too, have names
        // below amazonaws.com.
        Bedrock => between(name, "bedrock-runtime.", ".amazonaws.com").is_some_and(is_region),
        AzureOpenAI => between(name, "", ".openai.azure.com").is_some_and(names::is_dns_label),
        OpenAICompatible => false,
    }
}

/// Whether a text has the shape of a region of AWS, such as us-gov-west-1.
pub(super) fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let [first, places @ .., number] = parts.as_slice() else {
        return false;
    };
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_lowercase());
    (2..=4).contains(&first.len())
        && letters(first)
        && (1..=3).contains(&places.len())
        && places.iter().all(|place| letters(place))
        && (1..=2).contains(&number.len())
        && number.bytes().all(|it| it.is_ascii_digit())
        && !number.starts_with('0')
        && text.len() <= 63
}

fn own_name(provider_type: ProviderType) -> Option<&'static str> {
    match provider_type {
        ProviderType::OpenAI => Some("api.openai.com"),
        ProviderType::Anthropic => Some("api.anthropic.com"),
        ProviderType::Cohere => Some("api.cohere.com"),
        ProviderType::Gemini => Some("generativelanguage.googleapis.com"),
        ProviderType::Bedrock | ProviderType::AzureOpenAI | ProviderType::OpenAICompatible => None,
    }
}

fn https(name: &str) -> Option<Destination> {
    Destination::of(&Url::parse(&format!("https://{name}/")).ok()?)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_suffix(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_their_shape() {
        for good in [
            "us-east-1",
            "ap-southeast-2",
            "us-gov-west-1",
            "us-isob-east-1",
            "eusc-de-east-1",
        ] {
            assert!(is_region(good), "{good}");
        }
        for bad in [
            "",
            "s3",
            "us",
            "us-east",
            "us-1",
            "us-east-0",
            "us-east-01",
            "us-east-100",
            "us--1",
            "us-east-1-",
            "US-east-1",
            "s3-us-west-2",
            "s3-website-us-east-1",
            "us-east-1.evil",
            "europe-west-1",
            "us-a-b-c-d-1",
        ] {
            assert!(!is_region(bad), "{bad}");
        }
    }

    #[test]
    fn each_type_has_its_hosts_and_no_others() {
        use ProviderType::{
            Anthropic, AzureOpenAI, Bedrock, Cohere, Gemini, OpenAI, OpenAICompatible,
        };

        let all = [
            OpenAI,
            Anthropic,
            Cohere,
            Gemini,
            Bedrock,
            AzureOpenAI,
            OpenAICompatible,
        ];
        for (url, owner) in [
            ("https://api.openai.com/v1", Some(OpenAI)),
            ("https://API.OpenAI.com", Some(OpenAI)),
            ("https://api.openai.com:443", Some(OpenAI)),
            ("https://api.openai.com:8443", None),
            ("http://api.openai.com", None),
            ("https://api.openai.com.evil.org", None),
            ("https://evil-api.openai.com", None),
            ("https://openai.com", None),
            ("https://api.anthropic.com", Some(Anthropic)),
            ("https://api.cohere.com", Some(Cohere)),
            ("https://generativelanguage.googleapis.com", Some(Gemini)),
            ("https://storage.googleapis.com", None),
            (
                "https://bedrock-runtime.eu-central-1.amazonaws.com",
                Some(Bedrock),
            ),
            ("https://bedrock-runtime.s3.amazonaws.com", None),
            ("https://bedrock-runtime.s3-us-west-2.amazonaws.com", None),
            ("https://bedrock-runtime.amazonaws.com", None),
            ("https://x.bedrock-runtime.eu-central-1.amazonaws.com", None),
            (
                "https://bedrock-runtime.eu-central-1.amazonaws.com.cn",
                None,
            ),
            ("https://crm.openai.azure.com/openai/v1", Some(AzureOpenAI)),
            ("https://openai.azure.com", None),
            ("https://a.b.openai.azure.com", None),
            ("https://crm.azure.com", None),
            ("https://[::1]", None),
            ("https://127.0.0.1", None),
        ] {
            let destination = Destination::of(&Url::parse(url).expect("a URL")).expect("a host");
            for provider_type in all {
                let expected = owner == Some(provider_type);
                assert_eq!(
                    is_own(provider_type, &destination),
                    expected,
                    "{provider_type:?} {url}"
                );
            }
        }
        for provider_type in all {
            if let Some(destination) = own(provider_type) {
                assert!(is_own(provider_type, &destination), "{provider_type:?}");
            }
        }
        assert!(bedrock("us-east-1").is_some_and(|it| is_own(Bedrock, &it)));
        assert_eq!(bedrock("s3"), None);
    }
}
