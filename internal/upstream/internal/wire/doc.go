// Package wire sends one request to a registry and returns its answer, or a Failure with
// a class. It follows redirects, and sees to it that no secret goes along to another
// origin. A connection that was dropped silently costs Options.Reused, not the request.
package wire
