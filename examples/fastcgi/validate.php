<?php
// Says which recipients there are. fcgi_script_filename_validate is the path of this file, as
// php-fpm sees it; it need not be below the root of a web server.
//
// The answer begins with PASSED (there is such a recipient) or FAILED (550 no such user). After
// any other answer, and after an error of PHP, the client is told to try again later.

// One address in each line. Yours may be in a database.
const RECIPIENTS = __DIR__ . '/recipients.txt';

header('Content-Type: text/plain');

// Mail servers do not care for the case of an address, so the file need not either.
$wanted = strtolower($_GET['rcpt_to'] ?? '');
$known = file(RECIPIENTS, FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES);
if ($known === false) {
    // Neither yes nor no: nobody knows.
    exit('no list of recipients');
}
echo in_array($wanted, array_map('strtolower', $known), true) ? 'PASSED' : 'FAILED';
