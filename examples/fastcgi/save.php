<?php
// Keeps a message as a file. fcgi_script_filename_save is the path of this file, as php-fpm sees
// it; it need not be below the root of a web server. PHP's post_max_size must admit the largest
// message, of which it may need three octets for each.
//
// The answer begins with SAVED (the client is told 250) or FAILED (550: it never comes again).
// After any other answer, and after an error of PHP, the client is told to try again later. So:
// say SAVED only when the message is where it cannot be lost.

// php-fpm's user needs leave to write here.
const DIRECTORY = __DIR__ . '/mail';

header('Content-Type: text/plain');

// A message that is larger than post_max_size comes as an empty form.
if (!isset($_POST['body'])) {
    exit('no message; is post_max_size too small?');
}

// php-fpm runs this script also when the daemon was killed while it sent the message.
if (strlen(file_get_contents('php://input')) !== (int) $_SERVER['CONTENT_LENGTH']) {
    exit('not the whole message');
}

// The form has rcpt_to_0, rcpt_to_1 and so on, mail_from (empty for a bounce), remote_ip, helo,
// subject, tls_on ("true" or "false") and body: the header and the message as it came, with CRLF.
$recipients = [];
while (isset($_POST['rcpt_to_' . count($recipients)])) {
    $recipients[] = $_POST['rcpt_to_' . count($recipients)];
}

// Nothing that a client has sent is part of the name. The note is written last: a message that has
// none was cut off, and the client has sent it again.
$name = bin2hex(random_bytes(16));
$note = json_encode(
    ['from' => $_POST['mail_from'], 'to' => $recipients],
    JSON_INVALID_UTF8_SUBSTITUTE
);
if (!write("$name.eml", $_POST['body']) || !write("$name.json", $note)) {
    exit('cannot write to ' . DIRECTORY);
}
echo 'SAVED';

// Write a new file. When this returns true its content is on the disk (fsync needs PHP 8.1), but its
// name may not be: PHP cannot sync a directory. Many file systems write both at once; where a power
// failure must lose nothing whatever they do, save to a database.
function write(string $name, string $content): bool
{
    $file = fopen(DIRECTORY . "/$name", 'xb');
    return $file !== false
        && fwrite($file, $content) === strlen($content)
        && fsync($file)
        && fclose($file);
}
