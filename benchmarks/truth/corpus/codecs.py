"""Arguments of encoders that several themes use: fast, and good enough for bars to be read."""

YUV = ("-pix_fmt", "yuv420p")
X264 = ("-c:v", "libx264", "-preset", "veryfast", *YUV)
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0", *YUV)
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", *YUV)
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", *YUV)
AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "12", *YUV)
Q2 = ("-q:v", "2", *YUV)
THEORA = ("-c:v", "libtheora", "-q:v", "9", *YUV)
