package main

import (
	"encoding/base64"

	"golang.org/x/crypto/bcrypt"
)

const user, password = "bench", "a password of usual length"

// hashPassword is what `pullgate hash-password --bcrypt-cost 10` does, which
// Caddyfile.example recommends. Caddy remembers which passwords were right.
func hashPassword() (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 10)
	return string(hash), err
}

// authorization is the header that the password is sent in.
func authorization() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
