// Command headrace is the server and its command line client in one program.
//
// "headrace serve" runs a server; every other command talks to one over Arrow Flight, except
// "check", "config", "token", "version" and "completion", which need none. Results go to standard
// output, everything else to standard error: progress, summaries, questions and errors.
//
// Exit codes: 0 done, also if the reader of the output went away; 1 failed; 2 wrong usage; 130 ended
// by an interrupt.
package main
