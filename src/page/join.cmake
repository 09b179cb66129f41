# Joins index.html, style.css, text.js, plot.js and page.js of FOLDER into DOCUMENT, and writes that as an array into the C file OUT.
file(READ ${FOLDER}/index.html page)
file(READ ${FOLDER}/style.css style)
file(READ ${FOLDER}/text.js text)
file(READ ${FOLDER}/plot.js plot)
file(READ ${FOLDER}/page.js script)
string(REPLACE "/*STYLE*/" "${style}" page "${page}")
string(REPLACE "/*SCRIPT*/" "${text}${plot}${script}" page "${page}")
file(WRITE ${DOCUMENT} "${page}")
file(READ ${DOCUMENT} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "/* SPDX-License-Identifier: BSD-3-Clause */
/* page: generated from src/page: the document that / answers. */
#include \"src/server/page.h\"

const unsigned char page_bytes[] = {
${bytes}};
const size_t page_size = sizeof(page_bytes);
")
