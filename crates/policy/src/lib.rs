//! Rules, decisions and permits: who may do what.
//!
//! A [`Principal`](principal::Principal) asks for an
//! [`Action`](resource::Action) on a [`Resource`](resource::Resource) in a
//! [`Context`](resource::Context); a [`PolicySet`](policy_set::PolicySet)
//! answers with a [`Decision`](decision::Decision). The crate does no I/O and
//! deciding never fails: whatever cannot be told is a denial.

pub mod clock;
mod condition;
pub mod decision;
pub mod policy_config;
pub mod policy_set;
pub mod principal;
pub mod resource;
pub mod scope;
