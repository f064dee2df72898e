extern "C" int hetc_placeholder() { return 0; }
