<?php
// Pages of PHP's own web server whose sessions php-redis keeps, with the lock that it takes for each request.
session_start();
$page = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($page === '/count') {
    $before = $_SESSION['n'] ?? 0;
    usleep(2000); // so that two requests without a lock would read the same number
    $_SESSION['n'] = $before + 1;
    $_SESSION['list'] = ['a' => [1, 2.5, null, true], 'é' => "\0\xff"];
} elseif ($page === '/renew') {
    session_regenerate_id(true);
} elseif ($page === '/logout') {
    $_SESSION = [];
    session_destroy();
}
header('Content-Type: application/json');
echo json_encode(['id' => session_id(), 'n' => $_SESSION['n'] ?? null, 'intact' => ($_SESSION['list']['é'] ?? null) === "\0\xff"]);
