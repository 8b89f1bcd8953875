// Package fleet tests gateways that share a bucket: whole processes, and a real S3 server
// (versitygw, which lays objects down as files). Its tests have the build tag fleet, and
// "make fleet" runs them.
package fleet
