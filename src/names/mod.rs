//! From a plain path element to (directory, stored name): the one funnel.
