//! Stories about Gorget, told with real Git, PostgreSQL and Guix.

mod channel;
