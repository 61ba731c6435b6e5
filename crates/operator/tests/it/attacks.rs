//! What somebody would try who may write a gateway, create a pod, or reach the
//! operator over the network.

mod admission;
mod hardening;
mod injection;
mod objects;
mod storms;
