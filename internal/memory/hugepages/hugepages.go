// SPDX-License-Identifier: Apache-2.0

// Package hugepages has the heap of a command lie on huge pages where the system gives them to whom
// asks. It is imported for that alone.
//
// Memory that is touched for the first time costs an exception a page, which is dear in virtual
// machines: on some, a command with a thousand objects spends half of its time on it. Packages that
// need little have their turn before others, and this one needs nothing but the system's calls: what
// all the others allocate before main begins lies on huge pages, too.
package hugepages
