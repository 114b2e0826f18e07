//! What else people use to hand over values on one machine.
