//! The program: command line, configuration and start-up; the only place where tiers are put
//! together.

pub mod acme;
pub mod admin;
mod causes;
pub mod command_line;
mod connections;
pub mod doctor;
mod doctor_acme;
mod doctor_disk;
mod doctor_memory;
mod doctor_tuning;
pub mod limits;
pub mod memory;
pub mod node;
pub mod secret;
pub mod serve;
pub mod settings;
pub mod token;
mod top;
mod tune;
